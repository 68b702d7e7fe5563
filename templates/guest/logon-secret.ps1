# Removes the password of the automatic logon as the LSA keeps it, which Setup or a logon tool may have
# left beside the registry's Winlogon key. Nobody but SYSTEM can see that part of the registry: an
# administrator has a task do it.
#
# Goes in: nothing. Comes out: exit code 0 when the secret is gone, else 1 and a line that says why.

[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseShouldProcessForStateChangingFunctions', '', Scope = 'Function', Target = '*', Justification = 'Nobody is asked in an unattended run.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', '', Justification = 'The parameters are used inside functions, where this rule does not look.')]
param(
    [switch]$AsSystem,
    [string]$Timeout = '120'
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$script:Policy = 'HKLM:\SECURITY\Policy'
$script:Secret = 'HKLM:\SECURITY\Policy\Secrets\DefaultPassword'
$script:TaskName = 'Golden Windows Logon Secret'

# That nothing is seen means that nothing is there only for whoever can see.
function Remove-LogonSecret {
    if (-not (Test-Path -LiteralPath $script:Policy)) {
        throw 'the secrets of the LSA cannot be seen: this is not SYSTEM'
    }
    if (Test-Path -LiteralPath $script:Secret) {
        Remove-Item -LiteralPath $script:Secret -Recurse -Force
    }
    if (Test-Path -LiteralPath $script:Secret) {
        throw 'the password of the automatic logon is still among the secrets of the LSA'
    }
}

# 267009 (0x41301): the task is running; 267011 and 267045 (0x41303, 0x41325): it has not started yet.
function Wait-SecretTask {
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$Timeout)
    while ($true) {
        $code = [long](Get-ScheduledTaskInfo -TaskName $script:TaskName).LastTaskResult
        if (@(267009, 267011, 267045) -notcontains $code) {
            return $code
        }
        if ([DateTime]::UtcNow -gt $deadline) {
            Stop-ScheduledTask -TaskName $script:TaskName
            throw "the task that removes the secret did not end within $Timeout s"
        }
        Start-Sleep -Milliseconds 200
    }
}

function Invoke-SecretTask {
    $program = @(Get-Command -Name 'powershell.exe' -CommandType Application)[0].Path
    $argument = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}" -AsSystem' -f $PSCommandPath
    $options = @{
        TaskName  = $script:TaskName
        Action    = (New-ScheduledTaskAction -Execute $program -Argument $argument)
        Principal = (New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest)
        Settings  = (New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero))
        Force     = $true
    }
    Register-ScheduledTask @options | Out-Null
    try {
        Start-ScheduledTask -TaskName $script:TaskName
        $code = Wait-SecretTask
    } finally {
        Unregister-ScheduledTask -TaskName $script:TaskName -Confirm:$false
    }
    if ($code -ne 0) {
        throw ('the task that removes the secret ended with 0x{0:x}' -f $code)
    }
}

$code = 0
try {
    if ($AsSystem) {
        Remove-LogonSecret
    } else {
        Invoke-SecretTask
    }
} catch {
    Write-Information -MessageData $_.Exception.Message -InformationAction Continue
    $code = 1
}
exit $code
