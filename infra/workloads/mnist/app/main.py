"""Train a small network to read handwritten digits: the MNIST homework's program.

    python3 main.py --epochs 3 --lr 0.5

Change it as you like. With RANK and WORLD_SIZE in the environment, several processes train one
model together, each on its share of every batch.
"""

# ruff: noqa: E402
from __future__ import annotations

import time

FIRST_LINE = time.time()

import record

record.stop_on_signals()

import argparse
import hashlib
import io
import math
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import distributed, nn
from torch.optim import Adadelta
from torch.optim.lr_scheduler import StepLR
from torchvision import datasets

IMPORTED = time.time()

# Files of the data set -> how many numbers follow the first one in their headers.
FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
# Mean and standard deviation of MNIST's pixels, from 0 to 1.
MEAN, DEVIATION = 0.1307, 0.3081
# The part of the hidden layer that a training step keeps (dropout).
KEEP = 0.5
HIDDEN = 128
# Options that must equal those of the checkpoint to resume from it.
FIXED = ("batch_size", "lr", "gamma", "seed", "dry_run")
# The time limit for workers that wait for each other.
PATIENCE = timedelta(seconds=180)


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in one sentence."""

    def error(self, message: str) -> Any:
        """Reject an invalid option."""
        raise record.Refused(f"{message}; --help shows the options", 2)


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def rate(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def options(words: list[str]) -> argparse.Namespace:
    """The options of the command line. Raises Refused for invalid ones."""
    parser = Parser(description="Train a network on MNIST.", allow_abbrev=False)
    add = parser.add_argument
    add("--batch-size", type=positive, default=64, help="images in one step of training (64)")
    add("--test-batch-size", type=positive, default=1000, help="images tested at once (1000)")
    add("--epochs", type=positive, default=14, help="passes over the training images (14)")
    add("--lr", type=rate, default=1.0, help="learning rate (1.0)")
    add("--gamma", type=rate, default=0.7, help="factor on the rate after every epoch (0.7)")
    add("--no-accel", action="store_true", help="use the processor, even with an accelerator")
    add("--dry-run", action="store_true", help="run one training step and one test only")
    add("--seed", type=int, default=1, help="seed of the random numbers (1)")
    add("--log-interval", type=positive, default=10, help="steps between two lines (10)")
    add("--save-model", action="store_true", help="save the trained model as mnist_cnn.pt")
    add("--data", type=Path, default=Path("../data"), help="folder of the data (../data)")
    add("--threads", type=int, default=0, help="computing threads; 0 is PyTorch's choice")
    add("--metrics", type=Path, help="write the measurements into this JSON file")
    add("--checkpoint", type=Path, help="save every epoch here, and resume from it")
    add("--progress", choices=("auto", "bar", "plain"), default="auto", help="form of progress")
    found = parser.parse_args(words)
    for path in filter(None, (found.metrics, found.checkpoint)):
        if not os.access(path.parent, os.W_OK):
            raise record.Refused(f"{path.parent} is not a writable folder", 2)
    return found


class Net(nn.Module):
    """Two convolutions and two linear layers: 28x28 pixels to ten log-probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(1, 16, 5)
        self.shapes = nn.Conv2d(16, 32, 5)
        self.hidden = nn.Linear(32 * 4 * 4, HIDDEN)
        self.digits = nn.Linear(HIDDEN, 10)

    def forward(self, images: Any, left_on: Any = None) -> Any:
        """The log-probabilities. `left_on` has a 0 for each dropped value of the hidden layer."""
        x = F.max_pool2d(F.relu(self.edges(images)), 2)
        x = F.max_pool2d(F.relu(self.shapes(x)), 2)
        x = F.relu(self.hidden(x.flatten(1)))
        if left_on is not None:
            x = x * left_on / KEEP
        return F.log_softmax(self.digits(x), dim=1)


class Images:
    """The images and labels of one half of the data set, in the file's format."""

    def __init__(self, folder: Path, train: bool, device: Any) -> None:
        found = datasets.MNIST(str(folder), train=train, download=True)
        self.pixels = found.data.to(device)
        self.labels = found.targets.to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, which: Any) -> tuple[Any, Any]:
        """The images with these numbers, normalized for the network, and their labels."""
        pixels = self.pixels[which].unsqueeze(1).float().div_(255)
        return pixels.sub_(MEAN).div_(DEVIATION), self.labels[which]


def verify(folder: Path) -> None:
    """Check the data files against their digests. Raises Refused with the name of a damaged one."""
    sums = {}
    if (folder / "SHA256SUMS").exists():
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        sums = {name: total for total, name in (line.split() for line in lines)}
    for name, numbers in FILES.items():
        path = folder / name
        if not path.exists():
            continue
        content = path.read_bytes()
        total = hashlib.sha256(content).hexdigest()
        head = [int.from_bytes(content[at : at + 4], "big") for at in range(0, 16, 4)]
        size = 4 + 4 * numbers + math.prod(head[1 : 1 + numbers])
        wanted = sums.get(name, total)
        if total != wanted or head[0] != 0x800 + numbers or len(content) != size:
            raise record.Refused(
                f"{path} is damaged: its SHA-256 is {total}, "
                + (f"and should be {wanted}" if wanted != total else "and its header is wrong"),
                2,
            )


def load(folder: Path, device: Any) -> tuple[str, Images, Images]:
    """The data's name, its training images and its test images.

    Raises Refused for damaged data, and if they are missing and cannot be downloaded.
    """
    raw = folder / "MNIST" / "raw"
    verify(raw)
    try:
        train, test = Images(folder, True, device), Images(folder, False, device)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise record.Refused(
            f"no MNIST in {folder}, and the download failed: {reason}", 2
        ) from error
    named = raw / "NAME"
    name = named.read_text().strip() if named.exists() else "MNIST"
    return name, train, test


class Team:
    """The workers that train one model together; a single process is a team of one."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            wait_for(os.environ["MASTER_ADDR"])
            # Debian's PyTorch lacks libuv, which is the default for the rendezvous.
            os.environ.setdefault("USE_LIBUV", "0")
            distributed.init_process_group("gloo", timeout=PATIENCE)

    def share(self, items: Any) -> Any:
        """This worker's part of a batch."""
        return items[self.rank :: self.size]

    def add_up(self, parts: list[Any]) -> None:
        """Replace each of these tensors by its sum over all workers.

        One message contains all of them, since every message takes time, however short.
        """
        if self.size == 1:
            return
        flat = torch.cat([part.reshape(-1) for part in parts])
        distributed.all_reduce(flat)
        sums = flat.split([part.numel() for part in parts])
        for part, total in zip(parts, sums, strict=True):
            part.copy_(total.view_as(part))

    def tell(self, item: Any) -> Any:
        """The first worker's item, sent to all workers."""
        if self.size == 1:
            return item
        box = [item]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def leave(self) -> None:
        """Leave the team together, so that the other workers see no failure."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def wait_for(host: str) -> None:
    """Wait until a name resolves, since the first worker's pod may start later than this one.

    Raises Refused after the time limit.
    """
    end = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            socket.getaddrinfo(host, None)
            return
        except OSError as error:
            if time.monotonic() > end:
                raise record.Refused(
                    f"the name {host} does not resolve: {error.strerror}"
                ) from error
        time.sleep(0.5)


class Training:
    """One training: the model, its results so far, and their files."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.team = Team()
        self.progress = record.Progress(args.progress, args.epochs)
        if args.threads:
            torch.set_num_threads(args.threads)
        self.device = device(args, self.team)
        self.name, self.train_set, self.test_set = load(args.data, self.device)
        torch.manual_seed(args.seed)
        self.model = Net().to(self.device)
        self.optimizer = Adadelta(self.model.parameters(), lr=args.lr)
        self.schedule = StepLR(self.optimizer, step_size=1, gamma=args.gamma)
        self.epochs: list[dict[str, Any]] = []
        self.steps: list[tuple[int, float]] = []
        # Epochs of earlier processes, and epochs in the checkpoint.
        self.resumed = self.saved = 0
        self.resume()
        self.ready = time.time()

    def run(self) -> None:
        """Train to the end. Raises Refused and Stopped."""
        self.say(
            f"data: {self.name}, {len(self.train_set)} training images, "
            f"{len(self.test_set)} test images"
        )
        if self.resumed:
            self.say(f"going on after epoch {self.resumed}, from {self.args.checkpoint}")
        last = 1 if self.args.dry_run else self.args.epochs
        for epoch in range(self.resumed + 1, last + 1):
            begun, worked = time.perf_counter(), time.process_time()
            loss, images = self.train(epoch)
            seconds = time.perf_counter() - begun
            processor = time.process_time() - worked
            test_loss, accuracy = self.test()
            self.schedule.step()
            self.epochs.append(
                {
                    "epoch": epoch,
                    "loss": loss,
                    "test_loss": test_loss,
                    "accuracy": accuracy,
                    "seconds": seconds,
                    "processor": processor,
                    "images_per_second": images / seconds,
                }
            )
            self.say(
                f"epoch {epoch}/{last}  loss {loss:.4f}  test loss {test_loss:.4f}  "
                f"accuracy {accuracy:.2%}  {images / seconds:.0f} images/s"
            )
            self.keep(epoch)
            self.note(complete=False)
        self.save()
        self.note(complete=True)
        self.team.leave()

    def train(self, epoch: int) -> tuple[float, int]:
        """Train for one epoch; return the mean loss, and the number of images.

        Random numbers depend only on seed and epoch. So a resumed training and a team use the same
        images in the same order.
        """
        self.model.train()
        chance = torch.Generator().manual_seed(self.args.seed * 1_000_003 + epoch)
        total, seen, sum_of_losses = len(self.train_set), 0, 0.0
        batches = torch.randperm(total, generator=chance).split(self.args.batch_size)
        for number, batch in enumerate(batches[:1] if self.args.dry_run else batches):
            left_on = torch.bernoulli(torch.full((len(batch), HIDDEN), KEEP), generator=chance)
            images, labels = self.train_set.batch(self.team.share(batch))
            self.optimizer.zero_grad()
            output = self.model(images, self.team.share(left_on).to(self.device))
            # The mean over the whole batch, whose other parts other workers may have.
            loss = F.nll_loss(output, labels, reduction="sum") / len(batch)
            loss.backward()
            mean = loss.detach()
            self.team.add_up([*(weight.grad for weight in self.model.parameters()), mean])
            self.optimizer.step()
            seen += len(batch)
            here = float(mean)
            sum_of_losses += here * len(batch)
            log = number % self.args.log_interval == 0
            if log:
                self.steps.append(((epoch - 1) * total + seen, here))
            if self.team.rank == 0:
                self.progress.step(epoch, seen, total, len(batch), here, log)
        return sum_of_losses / seen, seen

    def test(self) -> tuple[float, float]:
        """Loss and accuracy (0 to 1) on the test images."""
        self.model.eval()
        found = torch.zeros(3, dtype=torch.float64)
        batches = torch.arange(len(self.test_set)).split(self.args.test_batch_size)
        with torch.no_grad():
            for batch in batches[:1] if self.args.dry_run else batches:
                images, labels = self.test_set.batch(self.team.share(batch))
                output = self.model(images)
                right = output.argmax(dim=1) == labels
                loss = F.nll_loss(output, labels, reduction="sum")
                found += torch.tensor([float(loss), float(right.sum()), len(labels)])
        self.team.add_up([found])
        loss, right, tested = found.tolist()
        return loss / tested, right / tested

    def say(self, text: str) -> None:
        """Print a line, in the first worker only."""
        if self.team.rank == 0:
            self.progress.say(text)

    def fixed(self) -> dict[str, Any]:
        """The settings that must equal the checkpoint's to resume from it."""
        return {"data": self.name, **{name: getattr(self.args, name) for name in FIXED}}

    def keep(self, epoch: int) -> None:
        """Write the checkpoint if requested. Raises Refused and keeps the last one on failure."""
        if self.args.checkpoint and self.team.rank == 0:
            state = {
                "fixed": self.fixed(),
                "epoch": epoch,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "epochs": self.epochs,
                "steps": self.steps,
            }
            record.write(self.args.checkpoint, packed(state))
            self.saved = epoch

    def resume(self) -> None:
        """Load the checkpoint if there is one. Raises Refused for another training's one."""
        path = self.args.checkpoint
        if not path:
            return
        state = None
        if self.team.rank == 0 and path.exists():
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                made = state["fixed"]
            except Exception as error:
                reason = f"{path} is not a checkpoint of this program; delete it to start again"
                raise record.Refused(reason, 2) from error
            if wrong := [name for name, value in self.fixed().items() if made[name] != value]:
                then = ", ".join(f"{name} {made[name]}" for name in wrong)
                raise record.Refused(
                    f"{path} is from a training with {then}; delete it to start again", 2
                )
        state = self.team.tell(state)
        if state:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.epochs = state["epochs"]
            self.resumed = self.saved = state["epoch"]
            self.steps = [tuple(step) for step in state["steps"]]

    def save(self) -> None:
        """Write the trained model next to the metrics if requested. Raises Refused."""
        if self.args.save_model and self.team.rank == 0:
            folder = self.args.metrics.parent if self.args.metrics else Path()
            record.write(folder / "mnist_cnn.pt", packed(self.model.state_dict()))

    def note(self, complete: bool) -> None:
        """Write the metrics if requested. Raises Refused."""
        if not self.args.metrics or self.team.rank:
            return
        document = {
            "schema": 1,
            "complete": complete,
            "data": {
                "name": self.name,
                "train": len(self.train_set),
                "test": len(self.test_set),
            },
            "options": {
                name: str(value) if isinstance(value, Path) else value
                for name, value in vars(self.args).items()
            },
            "clock": {
                "started": record.process_start(),
                "first_line": FIRST_LINE,
                "imported": IMPORTED,
                "ready": self.ready,
                "ended": time.time(),
            },
            "epochs": self.epochs,
            "steps": self.steps,
            "peak_memory": record.peak_memory(),
            "threads": torch.get_num_threads(),
            "resumed": self.resumed,
            "workers": self.team.size,
            "environment": record.surroundings(torch.__version__),
        }
        record.write_json(self.args.metrics, document)


def device(args: argparse.Namespace, team: Team) -> Any:
    """The computing device: an accelerator if there is one, but the processor for a team."""
    if args.no_accel or team.size > 1 or not torch.accelerator.is_available():
        return torch.device("cpu")
    return torch.accelerator.current_accelerator()


def packed(state: Any) -> bytes:
    """A model or a checkpoint as a file's content."""
    box = io.BytesIO()
    torch.save(state, box)
    return box.getvalue()


def kept(training: Training | None) -> str:
    """What a training that stops early has saved, as the end of a sentence."""
    if training and training.saved:
        place = f"epoch {training.saved} is in {training.args.checkpoint}"
        return f"the checkpoint of {place}; the same command resumes from it"
    if training and training.args.checkpoint:
        return "nothing was saved, since no epoch was complete"
    return "nothing was saved; --checkpoint FILE saves every epoch"


def main(words: list[str]) -> int:
    """Train; return 0, or the exit code of an error, which is reported in one sentence."""
    training = None
    try:
        training = Training(options(words))
        training.run()
    except record.Refused as error:
        end = f"; {kept(training)}" if training else ""
        print(f"\nerror: {error}{end}", file=sys.stderr)
        return int(error.code)
    except record.Stopped as sign:
        print(f"\nstopped by {sign.name}; {kept(training)}", file=sys.stderr)
        return int(sign.code)
    except RuntimeError as error:
        if not distributed.is_initialized():
            raise
        reason = str(error).strip().splitlines()[0]
        print(f"\nerror: another worker is gone: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # sys.exit would wait for the threads of a failed team.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
