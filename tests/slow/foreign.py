"""Somebody else's MNIST program: it knows nothing of the lab, its metrics or its checkpoints.

Written the way programs for PyTorch's tutorials are: a data loader with transforms, ../data, and a
model that is saved into the folder where the program is.
"""

import argparse

import torch
from torch import nn, optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def classifier() -> nn.Module:
    """Pixels to ten scores."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def main() -> None:
    """Train, test, save."""
    parser = argparse.ArgumentParser(description="A digit classifier")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--no-accel", action="store_true")
    parser.add_argument("--save-model", action="store_true")
    args = parser.parse_args()

    use_accel = not args.no_accel and torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if use_accel else torch.device("cpu")
    steps = [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    prepare = transforms.Compose(steps)
    first = datasets.MNIST("../data", train=True, download=True, transform=prepare)
    second = datasets.MNIST("../data", train=False, transform=prepare)
    loader = DataLoader(first, batch_size=args.batch_size, shuffle=True)
    model = classifier().to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=args.lr)
    for epoch in range(1, args.epochs + 1):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = sum(
                int((model(images.to(device)).argmax(1) == labels.to(device)).sum())
                for images, labels in DataLoader(second, batch_size=1000)
            )
        print(f"foreign: epoch {epoch}, {right} of {len(second)} right")
    if args.save_model:
        torch.save(model.state_dict(), "mnist_cnn.pt")
        print("foreign: saved")


if __name__ == "__main__":
    main()
