# Seal: makes a provisioned machine an image. First it cleans, over SSH; then a task of its own, which
# no SSH session is the parent of, generalises, removes the build's credentials and powers off.
#
# Goes in: seal.json (docs/guest-contract.md). Comes out: one JSON line per step, beacons, exit code 0
# or 1; from the task: beacons, and a machine that is off, or one that is up and reachable as before.

[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseShouldProcessForStateChangingFunctions', '', Scope = 'Function', Target = '*', Justification = 'Nobody is asked in an unattended run.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseSingularNouns', '', Scope = 'Function', Target = '*Access', Justification = 'Access is a singular noun.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', '', Justification = 'The parameters are used inside functions, where this rule does not look.')]
param(
    [string]$Config = '',
    [string]$Phase = 'Clean',
    [string]$StoreTimeout = '900'
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

#region common: the same text in agent.ps1, seal.ps1 and firstboot.ps1

# One line for the transcript; on stdout it is noise that the host ignores.
function Write-Note([string]$Text) {
    $stamp = [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ')
    Write-Information -MessageData ('{0} {1}' -f $stamp, $Text) -InformationAction Continue
}

# One sentence on one line, so that it fits a JSON line and a beacon.
function Get-Sentence([string]$Text) {
    $line = ($Text -replace '\s+', ' ').Trim()
    if ($line.Length -gt 600) {
        $line = $line.Substring(0, 597) + '...'
    }
    return $line
}

# A line on COM1. The port may be absent, busy or never drained: that must not fail a step.
function Send-Beacon([string]$Text) {
    $line = 'GOLDEN ' + ((Get-Sentence -Text $Text) -replace '[^\x20-\x7e]', '?')
    $line = $line.Substring(0, [Math]::Min(200, $line.Length))
    Write-Note -Text ('beacon: ' + $line)
    $port = $null
    try {
        $port = New-Object -TypeName System.IO.Ports.SerialPort -ArgumentList 'COM1', 115200, 'None', 8, 'One'
        $port.WriteTimeout = 2000
        $port.Open()
        $port.Write($line + "`r`n")
    } catch {
        Write-Note -Text ('COM1 did not take the beacon: ' + $_.Exception.Message)
    } finally {
        if ($null -ne $port) {
            $port.Dispose()
        }
    }
}

# JSON on one physical line, ASCII only, straight to stdout: no formatter may wrap it.
function Write-JsonLine($Record) {
    $json = ConvertTo-Json -InputObject $Record -Compress -Depth 5
    $ascii = [regex]::Replace($json, '[^\x20-\x7e]', { param($match) '\u{0:x4}' -f [int][char]$match.Value })
    [Console]::Out.WriteLine($ascii)
    [Console]::Out.Flush()
}

# The value of a key of a JSON object, or a default; strict mode forbids simply asking.
function Get-Field($Record, [string]$Name, $Default) {
    $property = $Record.PSObject.Properties[$Name]
    if ($null -eq $property -or $null -eq $property.Value) {
        return $Default
    }
    return $property.Value
}

# The path .NET understands; the file need not exist.
function Get-NativePath([string]$Path) {
    return $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
}

# Windows joins the arguments of a program into one line: this is the quoting that programs undo.
function ConvertTo-Argument([string]$Text) {
    if ($Text -ne '' -and $Text -notmatch '[\s"]') {
        return $Text
    }
    $escaped = [regex]::Replace($Text, '(\\*)"', '$1$1\"')
    $escaped = [regex]::Replace($escaped, '(\\+)$', '$1$1')
    return '"' + $escaped + '"'
}

function Find-Program([string]$Name) {
    if ($Name -match '[\\/]') {
        return (Convert-Path -LiteralPath $Name)
    }
    $found = @(Get-Command -Name $Name -CommandType Application -ErrorAction SilentlyContinue)
    if ($found.Count -eq 0) {
        throw "$Name is not on this machine"
    }
    return $found[0].Path
}

function Start-Program([string]$Name, [string]$CommandLine) {
    $info = New-Object -TypeName System.Diagnostics.ProcessStartInfo
    $info.FileName = Find-Program -Name $Name
    $info.Arguments = $CommandLine
    $info.UseShellExecute = $false
    $info.CreateNoWindow = $true
    $info.RedirectStandardInput = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    $process = New-Object -TypeName System.Diagnostics.Process
    $process.StartInfo = $info
    [void]$process.Start()
    $process.StandardInput.Close()
    return $process
}

# Ends a program and everything it started; Process.Kill of .NET Framework knows no tree.
function Stop-Program($Process) {
    try {
        $killer = Start-Program -Name 'taskkill.exe' -CommandLine ('/PID {0} /T /F' -f $Process.Id)
        [void]$killer.WaitForExit(10000)
    } catch {
        Write-Note -Text ('taskkill.exe failed: ' + $_.Exception.Message)
    }
    if (-not $Process.HasExited) {
        $Process.Kill()
    }
    [void]$Process.WaitForExit(10000)
}

# What a program writes, read while it runs: a full pipe would block it, and what a hanging program
# said before it was killed is the best hint there is.
function Read-Output($Readers, [object[]]$Pending, $Lines) {
    for ($index = 0; $index -lt $Readers.Count; $index++) {
        while ($null -ne $Pending[$index] -and $Pending[$index].IsCompleted) {
            $line = $Pending[$index].Result
            if ($null -eq $line) {
                $Pending[$index] = $null
            } else {
                $Lines.Add($line)
                $Pending[$index] = $Readers[$index].ReadLineAsync()
            }
        }
    }
}

# Waits until the program has ended and its output is read. A grandchild may hold the pipes open for
# ever: once the program itself has ended, two seconds more are enough.
function Wait-Program($Process, $Lines, [int]$TimeoutSeconds) {
    $readers = @($Process.StandardOutput, $Process.StandardError)
    $pending = @($readers[0].ReadLineAsync(), $readers[1].ReadLineAsync())
    $deadline = [DateTime]::UtcNow.AddSeconds($TimeoutSeconds)
    while ($true) {
        $ended = $Process.WaitForExit(50)
        Read-Output -Readers $readers -Pending $pending -Lines $Lines
        if ($ended -and $null -eq $pending[0] -and $null -eq $pending[1]) {
            return $true
        }
        if ([DateTime]::UtcNow -gt $deadline) {
            return $Process.HasExited
        }
        if ($ended) {
            $grace = [DateTime]::UtcNow.AddSeconds(2)
            if ($grace -lt $deadline) {
                $deadline = $grace
            }
            Start-Sleep -Milliseconds 10
        }
    }
}

# The one way to run a native program. Gives ExitCode and Lines; any exit code that is not in
# -ExitCodes, and a program that outlives its deadline, is an error with the last lines of output.
function Invoke-Program {
    param(
        [string]$Name,
        [string[]]$Arguments = @(),
        [string]$CommandLine = '',
        [int[]]$ExitCodes = @(0),
        [int]$TimeoutSeconds = 3600
    )
    if ($CommandLine -eq '') {
        $CommandLine = (@($Arguments | ForEach-Object -Process { ConvertTo-Argument -Text $_ }) -join ' ')
    }
    Write-Note -Text ('run: {0} {1}' -f $Name, $CommandLine)
    $lines = New-Object -TypeName 'System.Collections.Generic.List[string]'
    $process = Start-Program -Name $Name -CommandLine $CommandLine
    try {
        $ended = Wait-Program -Process $process -Lines $lines -TimeoutSeconds $TimeoutSeconds
        if (-not $ended) {
            Stop-Program -Process $process
            throw ('{0} did not end within {1} s and was killed; it said: {2}' -f $Name, $TimeoutSeconds, (Get-LastLine -Lines $lines))
        }
        $code = $process.ExitCode
    } finally {
        $process.Dispose()
    }
    foreach ($line in $lines) {
        Write-Note -Text ('  ' + $line)
    }
    if ($ExitCodes -notcontains $code) {
        throw ('{0} ended with exit code {1}; it said: {2}' -f $Name, $code, (Get-LastLine -Lines $lines))
    }
    return [pscustomobject]@{ ExitCode = $code; Lines = $lines.ToArray() }
}

function Get-LastLine($Lines) {
    $spoken = @($Lines | Where-Object -FilterScript { [string]$_ -match '\S' })
    if ($spoken.Count -eq 0) {
        return 'nothing'
    }
    return ($spoken[([Math]::Max(0, $spoken.Count - 3))..($spoken.Count - 1)] -join ' / ')
}

function Get-RegistryValue([string]$Key, [string]$Name) {
    if (-not (Test-Path -LiteralPath $Key)) {
        return $null
    }
    $item = Get-Item -LiteralPath $Key
    if ($item.GetValueNames() -notcontains $Name) {
        return $null
    }
    $data = $item.GetValue($Name, $null, 'DoNotExpandEnvironmentNames')
    return [pscustomobject]@{ Type = [string]$item.GetValueKind($Name); Data = $data }
}

# New-Item -Force on a key that exists would empty it: so it is made only when it is missing.
function Set-RegistryValue([string]$Key, [string]$Name, [string]$Type, $Data) {
    if (-not (Test-Path -LiteralPath $Key)) {
        New-Item -Path $Key -Force | Out-Null
    }
    New-ItemProperty -LiteralPath $Key -Name $Name -PropertyType $Type -Value $Data -Force | Out-Null
}

function Remove-RegistryValue([string]$Key, [string]$Name) {
    if ($null -ne (Get-RegistryValue -Key $Key -Name $Name)) {
        Remove-ItemProperty -LiteralPath $Key -Name $Name -Force
    }
}

# A file appears whole or not at all: written beside its place, then moved there. Replace keeps the
# access list of the file that was there.
function Write-WholeFile([string]$Path, [byte[]]$Bytes) {
    $folder = Split-Path -Path $Path -Parent
    if (-not (Test-Path -LiteralPath $folder)) {
        New-Item -Path $folder -ItemType Directory -Force | Out-Null
    }
    $target = Get-NativePath -Path $Path
    $new = $target + '.golden-new'
    try {
        [System.IO.File]::WriteAllBytes($new, $Bytes)
        if ([System.IO.File]::Exists($target)) {
            [System.IO.File]::Replace($new, $target, [NullString]::Value)
        } else {
            [System.IO.File]::Move($new, $target)
        }
    } finally {
        [System.IO.File]::Delete($new)
    }
}

function ConvertTo-Utf8([string]$Text) {
    $encoding = New-Object -TypeName System.Text.UTF8Encoding -ArgumentList $false
    return , $encoding.GetBytes($Text)
}

# 32 random characters that meet every complexity rule, and that nobody ever sees.
function New-RandomPassword {
    $alphabet = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789'
    $bytes = New-Object -TypeName 'byte[]' -ArgumentList 32
    [System.Security.Cryptography.RandomNumberGenerator]::Create().GetBytes($bytes)
    $password = New-Object -TypeName System.Security.SecureString
    foreach ($character in 'aZ7-'.ToCharArray()) {
        $password.AppendChar($character)
    }
    foreach ($byte in $bytes) {
        $password.AppendChar($alphabet[$byte % $alphabet.Length])
    }
    $password.MakeReadOnly()
    return $password
}

# The entries of an access list as comparable texts: SID, allow or deny, rights, inheritance flags.
function Get-AccessEntry($Acl) {
    $rules = $Acl.GetAccessRules($true, $true, [System.Security.Principal.SecurityIdentifier])
    foreach ($rule in $rules) {
        [pscustomobject]@{
            Sid       = [string]$rule.IdentityReference.Value
            Allow     = ([string]$rule.AccessControlType -eq 'Allow')
            Rights    = [int]$rule.FileSystemRights
            Flags     = [int]$rule.InheritanceFlags
            Inherited = [bool]$rule.IsInherited
        }
    }
}

# FullControl is 0x1F01FF; ReadAndExecute with Synchronize, as Windows always adds it, 0x1200A9.
$script:Rights = @{
    FullControl    = @{ Mask = 0x1F01FF; Letters = 'F' }
    ReadAndExecute = @{ Mask = 0x1200A9; Letters = 'RX' }
}

# Says what is wrong with the access list of a path, or nothing. Entries are SID -> right.
function Test-Access([string]$Path, $Entries) {
    if (-not (Test-Path -LiteralPath $Path)) {
        return "$Path does not exist"
    }
    $flags = 0
    if (Test-Path -LiteralPath $Path -PathType Container) {
        $flags = 3
    }
    $acl = Get-Acl -LiteralPath $Path
    if (-not $acl.AreAccessRulesProtected) {
        return "$Path inherits access entries"
    }
    $found = @(Get-AccessEntry -Acl $acl | ForEach-Object -Process { '{0} {1} {2:x} {3}' -f $_.Sid, $_.Allow, $_.Rights, $_.Flags })
    $wanted = @($Entries | ForEach-Object -Process { '{0} {1} {2:x} {3}' -f $_.identity, $true, $script:Rights[$_.rights].Mask, $flags })
    $found = ($found | Sort-Object) -join ', '
    $wanted = ($wanted | Sort-Object) -join ', '
    if ($found -ne $wanted) {
        return "$Path has the access entries [$found], not [$wanted]"
    }
    return ''
}

# icacls takes SIDs as *S-1-..., so the names of localised Windows do not matter. Wanted entries are
# granted before others are removed: at no time is the path without an owner who can mend it.
function Set-Access([string]$Path, $Entries) {
    $native = Get-NativePath -Path $Path
    $letters = ''
    if (Test-Path -LiteralPath $Path -PathType Container) {
        $letters = '(OI)(CI)'
    }
    $grants = @($Entries | ForEach-Object -Process { '*{0}:{1}({2})' -f $_.identity, $letters, $script:Rights[$_.rights].Letters })
    $arguments = @($native, '/inheritance:r', '/grant:r') + $grants
    Invoke-Program -Name 'icacls.exe' -Arguments $arguments -TimeoutSeconds 120 | Out-Null
    $wanted = @($Entries | ForEach-Object -Process { $_.identity })
    foreach ($entry in @(Get-AccessEntry -Acl (Get-Acl -LiteralPath $Path))) {
        if (-not $entry.Allow) {
            Invoke-Program -Name 'icacls.exe' -Arguments @($native, '/remove:d', ('*' + $entry.Sid)) -TimeoutSeconds 120 | Out-Null
        } elseif ($wanted -notcontains $entry.Sid) {
            Invoke-Program -Name 'icacls.exe' -Arguments @($native, '/remove:g', ('*' + $entry.Sid)) -TimeoutSeconds 120 | Out-Null
        }
    }
}

# A transcript that cannot be written (a full disk) is no reason to leave a machine half made.
function Open-Transcript([string]$Path) {
    try {
        $folder = Split-Path -Path $Path -Parent
        if (-not (Test-Path -LiteralPath $folder)) {
            New-Item -Path $folder -ItemType Directory -Force | Out-Null
        }
        Start-Transcript -LiteralPath $Path -Append -Force | Out-Null
        return $true
    } catch {
        Write-Note -Text ('no transcript: ' + $_.Exception.Message)
        return $false
    }
}

function Get-Seconds($Since) {
    return [Math]::Round(([DateTime]::UtcNow - $Since).TotalSeconds, 1)
}

#endregion common

$script:Golden = Join-Path -Path $env:ProgramData -ChildPath 'golden'
$script:SshFolder = Join-Path -Path $env:ProgramData -ChildPath 'ssh'
$script:Facts = 'HKLM:\SOFTWARE\GoldenWindows'
$script:Winlogon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
$script:SealTask = 'Golden Windows Seal'
$script:FirstBootTask = 'Golden Windows First Boot'
$script:Owners = @(
    [pscustomobject]@{ identity = 'S-1-5-18'; rights = 'FullControl' },
    [pscustomobject]@{ identity = 'S-1-5-32-544'; rights = 'FullControl' }
)

# --- small parts ---------------------------------------------------------------------------------

# Empties a folder as far as it can be: files in use are left, and told. Says how many went.
function Clear-Folder([string]$Folder) {
    $removed = 0
    if (-not (Test-Path -LiteralPath $Folder -PathType Container)) {
        return $removed
    }
    foreach ($item in @(Get-ChildItem -LiteralPath $Folder -Force)) {
        try {
            Remove-Item -LiteralPath $item.FullName -Recurse -Force
            $removed++
        } catch {
            Write-Note -Text ('left: {0}: {1}' -f $item.FullName, $_.Exception.Message)
        }
    }
    return $removed
}

function Remove-FileIfThere([string]$Path) {
    if (Test-Path -LiteralPath $Path -PathType Leaf) {
        Remove-Item -LiteralPath $Path -Force
        return 1
    }
    return 0
}

# 1062: stopped already; 1061: about to stop or to start; 1060: this edition has no such service.
function Stop-ServiceIfRunning([string]$Name) {
    Invoke-Program -Name 'sc.exe' -Arguments @('stop', $Name) -ExitCodes @(0, 1060, 1061, 1062) -TimeoutSeconds 120 | Out-Null
}

function Get-State([int]$Changes) {
    if ($Changes -gt 0) {
        return 'changed'
    }
    return 'ok'
}

# --- the steps: each says changed or ok ----------------------------------------------------------

# -2146498554 (0x800F0806): something is still being put in order, or waits for a restart. The former
# passes within minutes.
function Invoke-ComponentStoreStep {
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$StoreTimeout)
    while ($true) {
        $ran = Invoke-Program -Name 'dism.exe' -Arguments @('/Online', '/Cleanup-Image', '/StartComponentCleanup', '/ResetBase', '/Quiet', '/NoRestart') -ExitCodes @(0, -2146498554) -TimeoutSeconds 7200
        if ($ran.ExitCode -eq 0) {
            return 'changed'
        }
        if ([DateTime]::UtcNow -ge $deadline) {
            throw "for $StoreTimeout s dism.exe has ended with 0x800f0806: operations are pending in the component store"
        }
        Write-Note -Text 'operations are pending in the component store; it is asked again'
        Start-Sleep -Milliseconds 2000
    }
}

# The services that would fill the caches again at once are stopped first; they start on demand.
function Invoke-CachesStep {
    foreach ($name in @('wuauserv', 'bits', 'dosvc')) {
        Stop-ServiceIfRunning -Name $name
    }
    $count = 0
    foreach ($folder in @('SoftwareDistribution\Download', 'Temp', 'Prefetch', 'ServiceProfiles\NetworkService\AppData\Local\Temp')) {
        $count += Clear-Folder -Folder (Join-Path -Path $env:SystemRoot -ChildPath $folder)
    }
    $users = Join-Path -Path $env:SystemDrive -ChildPath '\Users'
    foreach ($user in @(Get-ChildItem -LiteralPath $users -Directory -Force -ErrorAction SilentlyContinue)) {
        $count += Clear-Folder -Folder (Join-Path -Path $user.FullName -ChildPath 'AppData\Local\Temp')
    }
    return (Get-State -Changes $count)
}

function Invoke-LogsStep {
    $count = Clear-Folder -Folder (Join-Path -Path $env:SystemRoot -ChildPath 'Logs')
    foreach ($folder in @('Minidump', 'LiveKernelReports')) {
        $count += Clear-Folder -Folder (Join-Path -Path $env:SystemRoot -ChildPath $folder)
    }
    $reports = Join-Path -Path $env:ProgramData -ChildPath 'Microsoft\Windows\WER'
    foreach ($folder in @('ReportQueue', 'ReportArchive')) {
        $count += Clear-Folder -Folder (Join-Path -Path $reports -ChildPath $folder)
    }
    return (Get-State -Changes $count)
}

# A page file in use can be neither removed nor trimmed. Windows fills it with zeros when it goes
# down: so it takes no room in the image, and keeps no secret. First boot switches this off again.
function Invoke-PagefileStep {
    $key = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management'
    $value = Get-RegistryValue -Key $key -Name 'ClearPageFileAtShutdown'
    if ($null -ne $value -and [int]$value.Data -eq 1) {
        return 'ok'
    }
    Set-RegistryValue -Key $key -Name 'ClearPageFileAtShutdown' -Type 'DWord' -Data 1
    return 'changed'
}

function Invoke-HibernationStep {
    $value = Get-RegistryValue -Key 'HKLM:\SYSTEM\CurrentControlSet\Control\Power' -Name 'HibernateEnabled'
    $file = Join-Path -Path $env:SystemDrive -ChildPath '\hiberfil.sys'
    if ($null -ne $value -and [int]$value.Data -eq 0 -and -not (Test-Path -LiteralPath $file)) {
        return 'ok'
    }
    # On a machine without S4 powercfg.exe may refuse this as well: what counts is that there is no file.
    try {
        Invoke-Program -Name 'powercfg.exe' -Arguments @('/hibernate', 'off') -TimeoutSeconds 120 | Out-Null
    } catch {
        if (Test-Path -LiteralPath $file) {
            throw
        }
        Write-Note -Text ('nothing hibernates here: ' + $_.Exception.Message)
        return 'ok'
    }
    return 'changed'
}

# Disabling brings Winre.wim back to System32\Recovery, from where it is removed: half a gigabyte.
# 2: it was disabled already, or never set up.
function Invoke-RecoveryStep {
    $done = Invoke-Program -Name 'reagentc.exe' -Arguments @('/disable') -ExitCodes @(0, 2) -TimeoutSeconds 600
    $count = Remove-FileIfThere -Path (Join-Path -Path $env:SystemRoot -ChildPath 'System32\Recovery\Winre.wim')
    if ($done.ExitCode -eq 0) {
        $count++
    }
    return (Get-State -Changes $count)
}

# Some logs of drivers and debuggers refuse to be cleared: that is told, and no failure. The logs
# that people read must be empty.
function Invoke-EventLogsStep {
    $names = @((Invoke-Program -Name 'wevtutil.exe' -Arguments @('el') -TimeoutSeconds 120).Lines | Where-Object -FilterScript { $_ -match '\S' })
    foreach ($name in $names) {
        try {
            Invoke-Program -Name 'wevtutil.exe' -Arguments @('cl', $name) -TimeoutSeconds 120 | Out-Null
        } catch {
            if (@('Application', 'Security', 'Setup', 'System') -contains $name) {
                throw
            }
            Write-Note -Text ('left: the event log {0}' -f $name)
        }
    }
    return 'changed'
}

# From here on nobody knows a password of this machine. The build's key stays until it is sealed: a
# machine that fails to generalise must be reachable.
function Invoke-CredentialsStep($Settings) {
    Set-LocalUser -Name $Settings.user -Password (New-RandomPassword)
    foreach ($account in @(Get-LocalUser | Where-Object -FilterScript { [string]$_.SID -like 'S-1-5-21-*-500' })) {
        Set-LocalUser -Name $account.Name -Password (New-RandomPassword)
    }
    Set-RegistryValue -Key $script:Winlogon -Name 'AutoAdminLogon' -Type 'String' -Data '0'
    foreach ($name in @('DefaultPassword', 'AutoLogonCount', 'AutoLogonSID')) {
        Remove-RegistryValue -Key $script:Winlogon -Name $name
    }
    $users = Join-Path -Path $env:SystemDrive -ChildPath '\Users'
    foreach ($user in @(Get-ChildItem -LiteralPath $users -Directory -Force -ErrorAction SilentlyContinue)) {
        [void](Remove-FileIfThere -Path (Join-Path -Path $user.FullName -ChildPath '.ssh\authorized_keys'))
    }
    return 'changed'
}

# A cached answer file goes before the one that sysprep is given, and holds the build's passwords.
function Invoke-PantherStep {
    $count = 0
    foreach ($folder in @('Panther', 'Panther\Unattend', 'Panther\UnattendGC', 'System32\Sysprep')) {
        $path = Join-Path -Path $env:SystemRoot -ChildPath $folder
        foreach ($file in @(Get-ChildItem -Path $path -Filter '*unattend*.xml' -File -Force -ErrorAction SilentlyContinue)) {
            $count += Remove-FileIfThere -Path $file.FullName
        }
    }
    foreach ($name in @('\autounattend.xml', '\unattend.xml')) {
        $count += Remove-FileIfThere -Path (Join-Path -Path $env:SystemDrive -ChildPath $name)
    }
    if ($null -ne (Get-RegistryValue -Key 'HKLM:\SYSTEM\Setup' -Name 'UnattendFile')) {
        Remove-RegistryValue -Key 'HKLM:\SYSTEM\Setup' -Name 'UnattendFile'
        $count++
    }
    return (Get-State -Changes $count)
}

function Get-PowerShellArgument([string]$Script, [string]$Rest) {
    return ('-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}" {1}' -f $Script, $Rest).Trim()
}

# A task that runs as SYSTEM, whatever the battery does, and may take as long as it needs.
function Register-SystemTask([string]$Name, [string]$Script, [string]$Rest, $Trigger) {
    $options = @{
        TaskName  = $Name
        Action    = (New-ScheduledTaskAction -Execute (Find-Program -Name 'powershell.exe') -Argument (Get-PowerShellArgument -Script $Script -Rest $Rest))
        Principal = (New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest)
        Settings  = (New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero))
        Force     = $true
    }
    if ($null -ne $Trigger) {
        $options.Trigger = $Trigger
    }
    Register-ScheduledTask @options | Out-Null
}

# Whoever may write in this folder becomes SYSTEM at the next start: nobody but SYSTEM and
# Administrators may.
function Invoke-FirstBootStep($Settings) {
    foreach ($file in @($Settings.first_boot.files)) {
        if (-not (Test-Path -LiteralPath (Get-GoldenPath -File $file) -PathType Leaf)) {
            throw "first boot needs $file, which is not below $script:Golden"
        }
    }
    $scriptPath = Get-GoldenPath -File 'firstboot.ps1'
    if (-not (Test-Path -LiteralPath $scriptPath -PathType Leaf)) {
        return 'ok'
    }
    Set-Access -Path $script:Golden -Entries $script:Owners
    Set-RegistryValue -Key $script:Facts -Name 'User' -Type 'String' -Data ([string]$Settings.user)
    Set-RegistryValue -Key $script:Facts -Name 'BuildHostName' -Type 'String' -Data ([string]$env:COMPUTERNAME)
    $complete = Get-GoldenPath -File 'SetupComplete.cmd'
    if ($Settings.first_boot.service -eq 'cloudbase-init') {
        if ($null -eq (Get-Service -Name 'cloudbase-init' -ErrorAction SilentlyContinue)) {
            throw 'first boot is to be cloudbase-init, which is not installed'
        }
        $complete = Get-GoldenPath -File 'cloudbase-complete.cmd'
    } else {
        Register-SystemTask -Name $script:FirstBootTask -Script $scriptPath -Rest '' -Trigger (New-ScheduledTaskTrigger -AtStartup)
    }
    if (Test-Path -LiteralPath $complete -PathType Leaf) {
        $target = Join-Path -Path $env:SystemRoot -ChildPath 'Setup\Scripts\SetupComplete.cmd'
        Write-WholeFile -Path $target -Bytes ([System.IO.File]::ReadAllBytes((Convert-Path -LiteralPath $complete)))
    }
    return 'changed'
}

function Get-GoldenPath([string]$File) {
    return (Join-Path -Path $script:Golden -ChildPath ($File -replace '/', '\'))
}

# The disk must report a discard granularity, or Windows refuses to retrim it.
function Invoke-TrimStep {
    try {
        Invoke-Program -Name 'defrag.exe' -Arguments @($env:SystemDrive, '/L') -TimeoutSeconds 3600 | Out-Null
    } catch {
        throw ('the disk was not trimmed; it must report a discard granularity of at least 8 KiB: ' + $_.Exception.Message)
    }
    return 'changed'
}

# Whether sysprep lets a store package be: Windows' own, or one that every new user gets, in the very
# version that is there.
function Test-KeptPackage($Package, $Provisioned) {
    if ($Package.NonRemovable -or $Package.IsFramework -or [string]$Package.SignatureKind -eq 'System') {
        return $true
    }
    foreach ($one in @($Provisioned | Where-Object -FilterScript { $_.DisplayName -eq $Package.Name })) {
        # A bundle has another version than the package in it.
        $inBundle = $one.PackageName -like '*_~_*' -and -not $Package.IsBundle
        if ($inBundle -or [string]$one.Version -eq [string]$Package.Version) {
            return $true
        }
    }
    return $false
}

# Store packages that only some users have stop sysprep (0x80073CF2), on servers as well: an installer
# or an update brought them. A bundle goes as a whole, and its packages with it. What does not go is
# noted: sysprep is the judge. Server Core may have the commands without their service.
function Remove-UserPackages {
    try {
        $provisioned = @(Get-AppxProvisionedPackage -Online)
        foreach ($type in @('Bundle', 'Main')) {
            foreach ($package in @(Get-AppxPackage -AllUsers -PackageTypeFilter $type)) {
                if (-not (Test-KeptPackage -Package $package -Provisioned $provisioned)) {
                    Remove-UserPackage -FullName $package.PackageFullName
                }
            }
        }
    } catch {
        Write-Note -Text ('the store packages cannot be listed: ' + $_.Exception.Message)
    }
}

function Remove-UserPackage([string]$FullName) {
    Write-Note -Text ('removes the store package {0}' -f $FullName)
    try {
        Remove-AppxPackage -Package $FullName -AllUsers
    } catch {
        Write-Note -Text ('it stays: ' + $_.Exception.Message)
    }
}

function Invoke-GeneraliseStep($Settings) {
    if ($Settings.generalise) {
        if (-not (Test-Path -LiteralPath (Get-GoldenPath -File 'unattend-oobe.xml') -PathType Leaf)) {
            throw "there is no unattend-oobe.xml below $script:Golden"
        }
        Remove-UserPackages
    }
    $rest = '-Config "{0}" -Phase Generalise' -f $Config
    Register-SystemTask -Name $script:SealTask -Script $PSCommandPath -Rest $rest -Trigger $null
    Start-ScheduledTask -TaskName $script:SealTask
    return 'changed'
}

# --- the task ------------------------------------------------------------------------------------

function Get-SysprepReason {
    $log = Join-Path -Path $env:SystemRoot -ChildPath 'System32\Sysprep\Panther\setuperr.log'
    if (-not (Test-Path -LiteralPath $log)) {
        return 'it wrote no setuperr.log'
    }
    return ('setuperr.log says: ' + (Get-LastLine -Lines @(Get-Content -LiteralPath $log)))
}

# /quiet: without it an error is a message box that nobody sees. What counts in the end is the state
# that Windows itself records, not the exit code.
function Invoke-Sysprep([int]$TimeoutSeconds) {
    $program = Join-Path -Path $env:SystemRoot -ChildPath 'System32\Sysprep\sysprep.exe'
    $answers = Get-NativePath -Path (Get-GoldenPath -File 'unattend-oobe.xml')
    $arguments = @('/generalize', '/oobe', '/quit', '/quiet', '/mode:vm', ('/unattend:' + $answers))
    try {
        Invoke-Program -Name $program -Arguments $arguments -TimeoutSeconds $TimeoutSeconds | Out-Null
    } catch {
        throw ('{0}; {1}' -f $_.Exception.Message, (Get-SysprepReason))
    }
    $state = Get-RegistryValue -Key 'HKLM:\SYSTEM\Setup\State' -Name 'ImageState'
    if ($null -eq $state -or [string]$state.Data -ne 'IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE') {
        $found = 'missing'
        if ($null -ne $state) {
            $found = [string]$state.Data
        }
        throw ('after sysprep the image state is {0}; {1}' -f $found, (Get-SysprepReason))
    }
}

# Everything of the build's below its folder, but what first boot needs.
function Remove-BuildFiles($Settings) {
    $kept = @($Settings.first_boot.files | ForEach-Object -Process { Get-NativePath -Path (Get-GoldenPath -File $_) })
    foreach ($file in @(Get-ChildItem -LiteralPath $script:Golden -Recurse -File -Force)) {
        if ($kept -notcontains (Get-NativePath -Path $file.FullName)) {
            Remove-Item -LiteralPath $file.FullName -Force
        }
    }
    $folders = @(Get-ChildItem -LiteralPath $script:Golden -Recurse -Directory -Force | Sort-Object -Property { $_.FullName.Length } -Descending)
    foreach ($folder in $folders) {
        if (@(Get-ChildItem -LiteralPath $folder.FullName -Force).Count -eq 0) {
            Remove-Item -LiteralPath $folder.FullName -Force
        }
    }
}

# The automatic logon's password as the LSA keeps it. Only SYSTEM can see that part of the registry: that
# nothing is seen means that nothing is there only for whoever can see.
function Remove-LogonSecret {
    if (-not (Test-Path -LiteralPath 'HKLM:\SECURITY\Policy')) {
        throw 'the secrets of the LSA cannot be seen: this is not SYSTEM'
    }
    $secret = 'HKLM:\SECURITY\Policy\Secrets\DefaultPassword'
    if (Test-Path -LiteralPath $secret) {
        Remove-Item -LiteralPath $secret -Recurse -Force
    }
    if (Test-Path -LiteralPath $secret) {
        throw 'the password of the automatic logon is still among the secrets of the LSA'
    }
}

# The key with which the build comes in goes last: until then a failure can be looked at.
function Remove-Keys {
    foreach ($file in @(Get-ChildItem -Path $script:SshFolder -Filter 'ssh_host_*' -File -Force -ErrorAction SilentlyContinue)) {
        Remove-Item -LiteralPath $file.FullName -Force
    }
    [void](Remove-FileIfThere -Path (Join-Path -Path $script:SshFolder -ChildPath 'administrators_authorized_keys'))
}

function Invoke-GeneralisePhase($Settings) {
    try {
        Send-Beacon -Text 'seal generalising'
        if ($Settings.generalise) {
            Invoke-Sysprep -TimeoutSeconds ([int]$Settings.timeout_seconds)
        }
        if ($script:Transcript) {
            Stop-Transcript | Out-Null
            $script:Transcript = $false
        }
        Remove-LogonSecret
        Remove-BuildFiles -Settings $Settings
        Set-RegistryValue -Key $script:Facts -Name 'Sealed' -Type 'DWord' -Data 1
        Remove-Keys
    } catch {
        Remove-RegistryValue -Key $script:Facts -Name 'Sealed'
        Write-Note -Text $_.ScriptStackTrace
        Send-Beacon -Text ('seal failed ' + $_.Exception.Message)
        return 1
    }
    Send-Beacon -Text 'seal generalised'
    Invoke-Program -Name 'shutdown.exe' -Arguments @('/s', '/t', '2', '/f') -TimeoutSeconds 60 | Out-Null
    return 0
}

# --- the cleaning --------------------------------------------------------------------------------

$script:Steps = [ordered]@{
    'component-store' = { Invoke-ComponentStoreStep }
    'caches'          = { Invoke-CachesStep }
    'logs'            = { Invoke-LogsStep }
    'pagefile'        = { Invoke-PagefileStep }
    'hibernation'     = { Invoke-HibernationStep }
    'recovery'        = { Invoke-RecoveryStep }
    'event-logs'      = { Invoke-EventLogsStep }
    'credentials'     = { param($Given) Invoke-CredentialsStep -Settings $Given }
    'panther'         = { Invoke-PantherStep }
    'first-boot'      = { param($Given) Invoke-FirstBootStep -Settings $Given }
    'trim'            = { Invoke-TrimStep }
    'generalise'      = { param($Given) Invoke-GeneraliseStep -Settings $Given }
}

function Invoke-SealStep([string]$Id, $Settings) {
    $since = [DateTime]::UtcNow
    $message = ''
    try {
        $state = [string](& $script:Steps[$Id] $Settings)
    } catch {
        Write-Note -Text $_.ScriptStackTrace
        $state = 'failed'
        $message = Get-Sentence -Text $_.Exception.Message
    }
    Write-Note -Text ('step {0}: {1} {2}' -f $Id, $state, $message)
    Write-JsonLine -Record ([ordered]@{ step = $Id; kind = 'seal'; state = $state; seconds = (Get-Seconds -Since $since); message = $message })
    if ($state -eq 'failed') {
        return ('{0}: {1}' -f $Id, $message)
    }
    return ''
}

function Invoke-CleanPhase($Settings) {
    Send-Beacon -Text 'seal cleaning'
    foreach ($id in @($script:Steps.Keys)) {
        $failure = Invoke-SealStep -Id $id -Settings $Settings
        if ($failure -ne '') {
            return $failure
        }
    }
    return ''
}

function Read-Settings([string]$Path) {
    if ($Path -eq '' -or -not (Test-Path -LiteralPath $Path -PathType Leaf)) {
        throw "there is no seal configuration '$Path'"
    }
    try {
        $read = ConvertFrom-Json -InputObject ([string](Get-Content -LiteralPath $Path -Raw -Encoding UTF8))
    } catch {
        throw "$Path is not JSON: $($_.Exception.Message)"
    }
    if ([string](Get-Field -Record $read -Name 'schema' -Default '') -ne '1') {
        throw "$Path is not of schema 1"
    }
    $user = [string](Get-Field -Record $read -Name 'user' -Default '')
    if ($user -eq '') {
        throw "$Path does not say which user the image has"
    }
    $timeout = [string](Get-Field -Record $read -Name 'timeout_seconds' -Default 1800)
    if ($timeout -notmatch '^[0-9]{1,6}$') {
        throw "$Path has the timeout '$timeout', not a number of seconds"
    }
    $first = Get-Field -Record $read -Name 'first_boot' -Default ([pscustomobject]@{})
    $files = @(Get-Field -Record $first -Name 'files' -Default @())
    $service = [string](Get-Field -Record $first -Name 'service' -Default 'golden')
    if (@('golden', 'cloudbase-init') -cnotcontains $service) {
        throw "$Path has the first boot '$service', which is not known"
    }
    return [pscustomobject]@{
        user            = $user
        generalise      = [bool](Get-Field -Record $read -Name 'generalise' -Default $true)
        timeout_seconds = [int]$timeout
        first_boot      = [pscustomobject]@{ service = $service; files = $files }
    }
}

function Complete-Clean([string]$Failure, $Since) {
    $result = 'done'
    if ($Failure -ne '') {
        $result = 'failed'
        Send-Beacon -Text ('seal failed ' + $Failure)
    }
    Write-JsonLine -Record ([ordered]@{ plan = 'seal'; result = $result; steps = $script:Steps.Count; seconds = (Get-Seconds -Since $Since); message = $Failure })
}

$began = [DateTime]::UtcNow
$script:Transcript = Open-Transcript -Path (Join-Path -Path $script:Golden -ChildPath ('log\seal-{0}.log' -f $Phase.ToLowerInvariant()))
try {
    $settings = Read-Settings -Path $Config
    $failure = ''
} catch {
    $failure = Get-Sentence -Text $_.Exception.Message
}
if ($Phase -eq 'Generalise' -and $failure -eq '') {
    $code = Invoke-GeneralisePhase -Settings $settings
} else {
    if ($failure -eq '') {
        $failure = Invoke-CleanPhase -Settings $settings
    }
    Complete-Clean -Failure $failure -Since $began
    $code = [int]($failure -ne '')
}
if ($script:Transcript) {
    Stop-Transcript | Out-Null
}
exit $code
