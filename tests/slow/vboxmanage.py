"""A stand-in for VBoxManage where VirtualBox cannot run: what Vagrant says to it, done by QEMU.

A machine is started as it was imported and modified: by which firmware, on which devices. The words
are those that Vagrant looks for in VirtualBox's answers; what Vagrant does not ask is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HOME = Path(os.environ.get("VBOX_STAND_IN", "none"))
HOSTINFO = "Processor supports HW virtualization: yes\nProcessor supports nested paging: yes"
NETWORK = "Name: vboxnet0\nIPAddress: {}\nNetworkMask: 255.255.255.0\nIPV6Address: \nStatus: Up"
ENVELOPE = "{http://schemas.dmtf.org/ovf/envelope/1}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
CONTROLLER = f".//*[{RASD}ResourceType='20']/{RASD}ResourceSubType"
FIRMWARE = {"efi64": ["-bios", "/usr/share/ovmf/OVMF.fd"]}
CONTROLLERS = {"AHCI": ["-device", "ich9-ahci,id=disks"]}
# VirtualBox's virtio card is of the time before the standard.
CARDS = {"virtio": "virtio-net-pci,disable-modern=on", "82540EM": "e1000"}


class Machines:
    """Every machine, kept in a file between calls."""

    def __init__(self) -> None:
        self.file = HOME / "machines.json"
        self.all: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}

    def keep(self) -> None:
        self.file.write_text(json.dumps(self.all, indent=2))

    def add(self, name: str, disk: Path, form: str, controller: str) -> None:
        """A new machine; what it writes does not change the given disk."""
        identity = str(uuid.uuid4())
        own = HOME / f"{identity}.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk), "-F", form, str(own)]
        subprocess.run(create, check=True)
        self.all[identity] = {
            "name": name,
            "firmware": "bios",
            "nic1": "nat",
            "nictype1": "82540EM",
            "natpf1": {},
            "controller": controller,
            "disk": str(own),
            "snapshots": [],
        }

    def running(self, identity: str) -> bool:
        try:
            os.kill(int((HOME / f"{identity}.pid").read_text()), 0)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return False
        return True


def hostonly() -> str:
    """The host's address in the network that was made for machines; empty before that."""
    file = HOME / "hostonly"
    return file.read_text() if file.exists() else ""


def suggested(ovf: Path) -> tuple[str, Path, str]:
    """Name, disk and controller of the machine that a file describes."""
    root = ElementTree.parse(ovf).getroot()
    system, file = root.find(f"{ENVELOPE}VirtualSystem"), next(root.iter(f"{ENVELOPE}File"))
    assert system is not None
    disk = ovf.parent / file.attrib[f"{ENVELOPE}href"]
    assert disk.stat().st_size == int(file.attrib[f"{ENVELOPE}size"])
    return system.attrib[f"{ENVELOPE}id"], disk, str(root.findtext(CONTROLLER))


def modify(machine: dict[str, Any], words: list[str]) -> None:
    """Settings of a machine; forwarded ports have names, and are deleted by them."""
    while words:
        key = words.pop(0).removeprefix("--")
        value = words.pop(0)
        if key != "natpf1":
            machine[key] = value
        elif value == "delete":
            machine[key].pop(words.pop(0))
        else:
            machine[key][value.partition(",")[0]] = value


def told(machines: Machines, identity: str) -> str:
    """A machine in lines that a program reads."""
    machine = machines.all[identity]
    lines = {key: value for key, value in machine.items() if isinstance(value, str)}
    lines["VMState"] = "running" if machines.running(identity) else "poweroff"
    lines |= {f"macaddress{number}": f"08002700000{number}" for number in (1, 2)}
    lines |= {f"Forwarding({i})": rule for i, rule in enumerate(machine["natpf1"].values())}
    return "\n".join(f'{key}="{value}"' for key, value in lines.items())


def start(machines: Machines, identity: str) -> None:
    machine = machines.all[identity]
    words = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nodefaults"]
    words += ["-display", "none", "-device", "VGA", "-serial", f"file:{HOME / identity}.log"]
    words += ["-smp", machine["cpus"], "-m", machine["memory"]]
    words += [*FIRMWARE.get(machine["firmware"], []), *CONTROLLERS[machine["controller"]]]
    words += ["-drive", f"if=none,id=disk,file={machine['disk']}"]
    words += ["-device", "ide-hd,drive=disk,bus=disks.0"]
    # Name, protocol, the host's address and port, the guest's.
    rules = [rule.split(",") for rule in machine["natpf1"].values()]
    ports = "".join(f",hostfwd={kind}:{at}:{port}-:{to}" for _, kind, at, port, _, to in rules)
    networks = {"nat": f"user{ports}", "hostonly": f"user,restrict=on,net={hostonly()}/24"}
    for number in (1, 2):
        if (kind := machine.get(f"nic{number}", "none")) != "none":
            kind, _, options = networks[kind].partition(",")
            words += ["-netdev", f"{kind},id=net{number},{options}".rstrip(",")]
            card = CARDS[machine.get(f"nictype{number}", "82540EM")]
            words += ["-device", f"{card},netdev=net{number},mac=08:00:27:00:00:0{number}"]
    pid = str(HOME / f"{identity}.pid")
    subprocess.run([*words, "-daemonize", "-pidfile", pid], check=True, close_fds=True)


def answer(machines: Machines, words: list[str]) -> str:
    """What VBoxManage prints to a command."""
    match words:
        case ["--version"]:
            return "7.0.14r161095"
        case ["list", "hostinfo"]:
            return HOSTINFO
        case ["list", "systemproperties"]:
            return f"Default machine folder: {HOME}"
        case ["list", "vms"]:
            return "\n".join(f'"{one["name"]}" {{{key}}}' for key, one in machines.all.items())
        case ["list", "hostonlyifs"]:
            return NETWORK.format(address) if (address := hostonly()) else ""
        case ["list", "bridgedifs" | "dhcpservers"]:
            return ""
        case ["hostonlyif", "create"]:
            return "Interface 'vboxnet0' was successfully created"
        case ["hostonlyif", "ipconfig", "vboxnet0", "--ip", address, *_]:
            (HOME / "hostonly").write_text(address)
        case ["import", "-n", ovf]:
            name, disk, _ = suggested(Path(ovf))
            return (
                f'Suggested VM name "{name}"\n'
                f'Suggested VM settings file name "{HOME}/{name}/{name}.vbox"\n'
                f"5: Hard disk image: source image={disk.name}, target path={disk.name}, port=0"
            )
        case ["import", ovf, "--vsys", "0", "--vmname", name, "--vsys", "0", "--unit", "5", *_]:
            _, disk, controller = suggested(Path(ovf))
            machines.add(name, disk, "vmdk", controller)
        case [
            "clonevm",
            master,
            "--register",
            "--name",
            name,
            "--snapshot",
            _,
            "--options",
            "link",
        ]:
            one = machines.all[master]
            machines.add(name, Path(one["disk"]), "qcow2", one["controller"])
        case ["snapshot", identity, "list", "--machinereadable"]:
            names = machines.all[identity]["snapshots"]
            return "\n".join(f'SnapshotName="{name}"' for name in names)
        case ["snapshot", identity, "take", name]:
            machines.all[identity]["snapshots"].append(name)
        case ["modifyvm", identity, *settings]:
            modify(machines.all[identity], settings)
        case ["showvminfo", identity, *_] if identity in machines.all:
            return told(machines, identity)
        case ["startvm", identity, "--type", "headless"]:
            start(machines, identity)
        case ["controlvm", identity, "poweroff"]:
            os.kill(int((HOME / f"{identity}.pid").read_text()), 15)
        case ["unregistervm", identity, "--delete"]:
            Path(machines.all.pop(identity)["disk"]).unlink()
        case _:
            raise SystemExit(f"VBOX_E_OBJECT_NOT_FOUND: {words}")
    return ""


if __name__ == "__main__":
    known = Machines()
    with (HOME / "commands.log").open("a") as log:
        print(json.dumps(sys.argv[1:]), file=log)
    if text := answer(known, sys.argv[1:]):
        print(text)
    known.keep()
