"""cloudbase-init instead of this project's first boot: the steps that bring it, its configuration.

In: an image's definition. Out: planned steps for the provision plan. The package is installed and
configured while building and starts with the first boot of a copy only: sealing writes the
SetupComplete.cmd that switches it on. It looks for a NoCloud disc (label ``cidata``) and asks no
network for anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.answers.planning import FromPin, PayloadSource, PlannedStep
from pipeline.definitions.model import FirstBoot, Image

FOLDER = r"C:\Program Files\Cloudbase Solutions\Cloudbase-Init"
SERVICE = "cloudbase-init"
# First boot switches the service on, so a copy is not as this step left the machine.
SERVICE_STEP = "cloudbase-init-service"
NOCLOUD = "cloudbaseinit.metadata.services.nocloudservice.NoCloudConfigDriveService"
HOST_NAME = "cloudbaseinit.plugins.common.sethostname.SetHostNamePlugin"
# Left out: passwords, WinRM, licences, and clock and MTU by DHCP.
PLUGINS = (
    HOST_NAME,
    "cloudbaseinit.plugins.windows.createuser.CreateUserPlugin",
    "cloudbaseinit.plugins.common.networkconfig.NetworkConfigPlugin",
    "cloudbaseinit.plugins.common.sshpublickeys.SetUserSSHPublicKeysPlugin",
    "cloudbaseinit.plugins.windows.extendvolumes.ExtendVolumesPlugin",
    "cloudbaseinit.plugins.common.userdata.UserDataPlugin",
    "cloudbaseinit.plugins.common.localscripts.LocalScriptsPlugin",
)
# cloudbase-init writes keys where sshd reads those of users who are no administrators.
KEYS_SCRIPT = (
    "@powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass"
    ' -File "%ProgramData%\\golden\\firstboot.ps1" -CloudbaseKeys\r\n'
)
_PROGRAM_FILES = r"%ProgramFiles%\Cloudbase Solutions\Cloudbase-Init"
# In the specialize pass. Exit code 1 asks Setup for a restart, after which the name counts.
SPECIALIZE = (
    rf'cmd.exe /d /s /c ""{_PROGRAM_FILES}\Python\Scripts\cloudbase-init.exe"'
    rf' --config-file "{_PROGRAM_FILES}\conf\cloudbase-init-unattend.conf" && exit 1 || exit 0"'
)


def cloudbase_steps(image: Image) -> Iterable[PlannedStep]:
    """The package, a service that waits, its two configurations, the script for the keys."""
    pin = image.cloudbase_init
    if image.first_boot is not FirstBoot.CLOUDBASE_INIT or pin is None:
        return
    payload = PayloadSource(f"cloudbase-init/{pin}.msi", FromPin(pin))
    # As SYSTEM: otherwise the package makes an administrator of its own.
    keys = {"properties": {"RUN_SERVICE_AS_LOCAL_SYSTEM": "1"}}
    yield PlannedStep("cloudbase-init", "msi", keys, (payload,))
    waits = {"name": SERVICE, "start": "demand", "state": "stopped"}
    yield PlannedStep(SERVICE_STEP, "service", waits)
    yield _file("cloudbase-init-conf", r"conf\cloudbase-init.conf", main(image))
    yield _file("cloudbase-init-unattend", r"conf\cloudbase-init-unattend.conf", unattend(image))
    yield _file("cloudbase-init-keys", r"LocalScripts\golden-keys.cmd", KEYS_SCRIPT)


def main(image: Image) -> str:
    """The configuration of the service."""
    return _ini(_common(image) | {"plugins": ",".join(PLUGINS), "logfile": "cloudbase-init.log"})


def unattend(image: Image) -> str:
    """The configuration for Setup's specialize pass: the host name alone, and no restart."""
    own = {
        "plugins": HOST_NAME,
        "logfile": "cloudbase-init-unattend.log",
        "allow_reboot": "false",
        "stop_service_on_exit": "false",
    }
    return _ini(_common(image) | own)


def _common(image: Image) -> dict[str, str]:
    return {
        "username": image.user,
        "groups": "Administrators",
        "inject_user_password": "false",
        "first_logon_behaviour": "no",
        "metadata_services": NOCLOUD,
        "check_latest_version": "false",
        "mtu_use_dhcp_config": "false",
        "ntp_use_dhcp_config": "false",
        "bsdtar_path": rf"{FOLDER}\bin\bsdtar.exe",
        "mtools_path": rf"{FOLDER}\bin" + "\\",
        "local_scripts_path": rf"{FOLDER}\LocalScripts" + "\\",
        "logdir": rf"{FOLDER}\log" + "\\",
        "verbose": "true",
    }


def _ini(options: Mapping[str, str]) -> str:
    lines = ["[DEFAULT]", *(f"{name}={value}" for name, value in options.items())]
    drives = ("[config_drive]", "types=vfat,iso", "locations=cdrom,hdd,partition")
    return "\r\n".join((*lines, "", *drives, ""))


def _file(name: str, path: str, content: str) -> PlannedStep:
    return PlannedStep(name, "file", {"path": rf"{FOLDER}\{path}", "content": content})
