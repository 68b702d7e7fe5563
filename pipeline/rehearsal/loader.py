"""The boot loader: GRUB images for the medium and for the installed disk, UEFI and BIOS.

Goes in: the unpacked packages. Comes out: image files in a folder. On the medium the loader shows
the prompt of Microsoft's and, without a key, leaves to the firmware's next choice; on the disk it
starts at once.
"""

from __future__ import annotations

import io
import os
import string
import tarfile
from pathlib import Path

from pipeline.rehearsal.packages import Packages

PROMPT = "Press any key to boot from CD or DVD......"
PROMPT_SECONDS = 5
KERNEL = "quiet loglevel=3 console=tty0 console=ttyS0 panic=0 random.trust_cpu=on nokaslr"
MODULES = "echo fat halt linux ls minicmd normal ntfs part_gpt part_msdos reboot search "
MODULES += "search_label search_fs_file sleep test true udf configfile"
VIDEO = {"uefi": "efi_gop", "bios": "biosdisk vbe"}
FAT_SECTORS = 4096
EPOCH = 315532800  # 1980-01-01, where FAT's time begins

MEDIUM = """\
set timeout_style=hidden
set timeout={seconds}
set default=leave
set pager=0
function start {{
  linux ($root)/boot/standin/vmlinuz {kernel} standin.phase=setup standin.faults={faults}
  initrd ($root)/boot/standin/initramfs
  boot
}}
{search}
{keys}
menuentry leave --id leave {{ exit }}
{early}
echo "{prompt}"
"""
ALONE = """\
set other=
for place in (hd0,msdos1) (hd0,gpt1); do
  if [ -d $place/ ]; then set other=$place; fi
done
if [ -z "$other" ]; then start; fi
"""
DISK = """\
set faults=
set drivers=
search --no-floppy --set=root --file {folder}/vmlinuz {hint}
if [ -f ($root){folder}/standin.cfg ]; then source ($root){folder}/standin.cfg; fi
set own="standin.faults=$faults standin.boot=$drivers"
linux ($root){folder}/vmlinuz {kernel} standin.phase=windows $own
initrd ($root){folder}/initramfs
boot
"""


def _keys() -> str:
    """Whichever key is pressed starts the medium: one hidden entry for each."""
    keys = [" ", *string.ascii_lowercase, *string.digits]
    entries = (f"menuentry k{n} --hotkey='{key}' {{ start }}" for n, key in enumerate(keys))
    return "\n".join(entries)


def medium_config(firmware: str, label: str, faults: str) -> str:
    """The settings on the medium. Microsoft's BIOS loader asks only where there is a choice."""
    return MEDIUM.format(
        seconds=PROMPT_SECONDS,
        kernel=KERNEL,
        faults=faults,
        search=f"search --no-floppy --set=root --label {label}",
        keys=_keys(),
        early=ALONE if firmware == "bios" else "",
        prompt=PROMPT,
    )


def disk_config(firmware: str) -> str:
    """The loader's settings on an installed disk."""
    folder = "/EFI/Microsoft/Boot" if firmware == "uefi" else "/Boot"
    hint = "--hint hd0,gpt1" if firmware == "uefi" else "--hint hd0,msdos1"
    return DISK.format(folder=folder, hint=hint, kernel=KERNEL)


def image(packages: Packages, form: str, config: str, modules: str, target: Path) -> None:
    """One GRUB image; its settings lie in a small archive inside: only there conditions work."""
    folder = packages.find(f"lib/grub/{form.removesuffix('-eltorito')}")
    memory = target.with_suffix(".tar")
    with tarfile.open(memory, "w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo("boot/grub/grub.cfg")
        member.size = len(config.encode())
        archive.addfile(member, io.BytesIO(config.encode()))
    fixed = ("-O", form, "-d", folder, "-p", "(memdisk)/boot/grub", "-m", memory, "-o", target)
    packages.run("bin/grub-mkimage", *fixed, "memdisk", "tar", *modules.split())
    memory.unlink()


def _fat(packages: Packages, program: Path, target: Path) -> None:
    """A small FAT volume with the UEFI program at the fallback path, as El Torito wants it."""
    target.write_bytes(bytes(FAT_SECTORS * 512))
    packages.run("sbin/mkfs.fat", "--invariant", "-i", "52454853", "-F", "12", target)
    os.utime(program, (EPOCH, EPOCH))
    for folder in ("::/EFI", "::/EFI/BOOT"):
        packages.run("bin/mmd", "-i", target, folder)
    packages.run("bin/mcopy", "-m", "-i", target, program, "::/EFI/BOOT/BOOTX64.EFI")


def build(packages: Packages, folder: Path, label: str, faults: str) -> None:
    """All images: ``efisys.bin`` and ``etfsboot.com`` for the medium, the rest for the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    efi, pc = f"{MODULES} {VIDEO['uefi']}", f"{MODULES} {VIDEO['bios']}"
    image(packages, "x86_64-efi", medium_config("uefi", label, faults), efi, folder / "medium.efi")
    _fat(packages, folder / "medium.efi", folder / "efisys.bin")
    bios = medium_config("bios", label, faults)
    image(packages, "i386-pc-eltorito", bios, pc, folder / "etfsboot.com")
    image(packages, "x86_64-efi", disk_config("uefi"), efi, folder / "disk.efi")
    image(packages, "i386-pc", disk_config("bios"), pc, folder / "core.img")
    (folder / "boot.img").write_bytes(packages.find("lib/grub/i386-pc/boot.img").read_bytes())
