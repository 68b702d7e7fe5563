# The guest agent: brings a Windows machine into the state that a plan declares, step by step.
#
# Goes in: a plan (JSON) and the payloads it names. Comes out: one JSON line per step on stdout, one
# beacon per step on COM1, a transcript, and an exit code: 0 done, 1 failed, 2 not understood,
# 3 wrong (Test mode), 4 restart and run again. docs/guest-contract.md is the contract.

[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseShouldProcessForStateChangingFunctions', '', Scope = 'Function', Target = '*', Justification = 'Steps are looked at with -Mode Test; nobody is asked in an unattended run.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseSingularNouns', '', Scope = 'Function', Target = '*Access', Justification = 'Access is a singular noun.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', '', Justification = 'The parameters are used inside functions, where this rule does not look.')]
param(
    [string]$Mode = '',
    [string]$Plan = '',
    [string]$Payload = '',
    [string]$Log = '',
    [string]$ProgramTimeout = '3600',
    [string]$ServiceTimeout = '90',
    [string]$BusyTimeout = '300'
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

$script:Markers = 'HKLM:\SOFTWARE\GoldenWindows\Steps'
$script:Restarts = 'HKLM:\SOFTWARE\GoldenWindows\Restarts'
$script:PlanName = ''

# --- payloads ------------------------------------------------------------------------------------

function Get-PayloadPath($Item) {
    return (Join-Path -Path $Payload -ChildPath ($Item.file -replace '/', '\'))
}

function Get-MainPayload($Step) {
    return (Get-PayloadPath -Item @($Step.payloads)[0])
}

# Every payload of a step is as the plan says, before any is used; else a sentence.
function Test-Payload($Step) {
    foreach ($item in @(Get-Field -Record $Step -Name 'payloads' -Default @())) {
        $path = Get-PayloadPath -Item $item
        if (-not (Test-Path -LiteralPath $path -PathType Leaf)) {
            return "the payload $($item.file) is missing"
        }
        $found = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash
        if ($found -ne $item.sha256) {
            return "the payload $($item.file) has SHA-256 $($found.ToLowerInvariant()), the plan says $($item.sha256)"
        }
    }
    return ''
}

# --- msi -----------------------------------------------------------------------------------------

function Invoke-ComMember($Object, [string]$Name, [string]$Kind, [object[]]$Arguments) {
    return $Object.GetType().InvokeMember($Name, $Kind, $null, $Object, $Arguments)
}

# An open database would keep msiexec from the file: release it now, not at the next collection.
function Clear-ComObject([object[]]$Objects) {
    foreach ($object in $Objects) {
        if ($null -ne $object -and [System.Runtime.InteropServices.Marshal]::IsComObject($object)) {
            [void][System.Runtime.InteropServices.Marshal]::FinalReleaseComObject($object)
        }
    }
}

function Get-MsiProperty([string]$Path, [string]$Name) {
    $installer = New-Object -ComObject 'WindowsInstaller.Installer'
    $database = $null
    $view = $null
    $record = $null
    try {
        # What a command gives is wrapped by PowerShell, also within an array: COM takes a plain text alone.
        $native = [string](Convert-Path -LiteralPath $Path)
        $database = Invoke-ComMember -Object $installer -Name 'OpenDatabase' -Kind 'InvokeMethod' -Arguments @($native, 0)
        $query = 'SELECT `Value` FROM `Property` WHERE `Property` = ''{0}''' -f $Name
        $view = Invoke-ComMember -Object $database -Name 'OpenView' -Kind 'InvokeMethod' -Arguments @($query)
        Invoke-ComMember -Object $view -Name 'Execute' -Kind 'InvokeMethod' -Arguments @() | Out-Null
        $record = Invoke-ComMember -Object $view -Name 'Fetch' -Kind 'InvokeMethod' -Arguments @()
        if ($null -eq $record) {
            throw "the package $Path has no $Name"
        }
        return [string](Invoke-ComMember -Object $record -Name 'StringData' -Kind 'GetProperty' -Arguments @(1))
    } finally {
        Clear-ComObject -Objects @($record, $view, $database, $installer)
    }
}

function Get-InstalledVersion([string]$ProductCode) {
    $folders = @('HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall', 'HKLM:\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall')
    foreach ($folder in $folders) {
        $version = Get-RegistryValue -Key "$folder\$ProductCode" -Name 'DisplayVersion'
        if ($null -ne $version) {
            return [string]$version.Data
        }
    }
    return ''
}

function Test-MsiStep($Step) {
    $path = Get-MainPayload -Step $Step
    $wanted = Get-MsiProperty -Path $path -Name 'ProductVersion'
    $found = Get-InstalledVersion -ProductCode (Get-MsiProperty -Path $path -Name 'ProductCode')
    if ($found -eq '') {
        return "version $wanted of the package is not installed"
    }
    if ($found -ne $wanted) {
        return "the package is installed in version $found, not $wanted"
    }
    return ''
}

# msiexec has quoting rules of its own: NAME="value", with quotes in the value doubled.
function Get-MsiCommandLine($Step, [string]$LogFile) {
    $package = Convert-Path -LiteralPath (Get-MainPayload -Step $Step)
    $line = '/i "{0}" /qn /norestart /l*v "{1}"' -f $package, (Get-NativePath -Path $LogFile)
    $properties = Get-Field -Record $Step -Name 'properties' -Default $null
    if ($null -ne $properties) {
        foreach ($property in $properties.PSObject.Properties) {
            $line += ' {0}="{1}"' -f $property.Name, ([string]$property.Value).Replace('"', '""')
        }
    }
    return $line
}

# The action that failed is the one before the first "Return value 3" of the installer's log.
function Get-MsiReason([string]$LogFile) {
    if (-not (Test-Path -LiteralPath $LogFile)) {
        return 'it wrote no log'
    }
    $lines = @(Get-Content -LiteralPath $LogFile)
    for ($index = 0; $index -lt $lines.Count; $index++) {
        if ($lines[$index] -match 'Return value 3') {
            $first = [Math]::Max(0, $index - 2)
            return ($lines[$first..$index] -join ' / ')
        }
    }
    return (Get-LastLine -Lines $lines)
}

# 1618: another installation is running; it is waited for, within -BusyTimeout.
function Set-MsiStep($Step) {
    $logFile = Join-Path -Path (Split-Path -Path $Log -Parent) -ChildPath ($Step.id + '.msi.log')
    $line = Get-MsiCommandLine -Step $Step -LogFile $logFile
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$BusyTimeout)
    while ($true) {
        $done = Invoke-Program -Name 'msiexec.exe' -CommandLine $line -ExitCodes @(0, 1603, 1618, 1641, 3010) -TimeoutSeconds ([int]$ProgramTimeout)
        if ($done.ExitCode -eq 1603) {
            throw "msiexec.exe ended with exit code 1603 (fatal error); its log $logFile says: $(Get-MsiReason -LogFile $logFile)"
        }
        if ($done.ExitCode -ne 1618) {
            return ($done.ExitCode -ne 0)
        }
        if ([DateTime]::UtcNow -ge $deadline) {
            throw "msiexec.exe ended with exit code 1618: another installation has been running for $BusyTimeout s"
        }
        Start-Sleep -Milliseconds 1000
    }
}

# --- file ----------------------------------------------------------------------------------------

function Get-FileStepBytes($Step) {
    if ($null -ne (Get-Field -Record $Step -Name 'payloads' -Default $null)) {
        return , [System.IO.File]::ReadAllBytes((Convert-Path -LiteralPath (Get-MainPayload -Step $Step)))
    }
    return , (ConvertTo-Utf8 -Text $Step.content)
}

function Get-FileStepHash($Step) {
    if ($null -ne (Get-Field -Record $Step -Name 'payloads' -Default $null)) {
        return @($Step.payloads)[0].sha256
    }
    $stream = New-Object -TypeName System.IO.MemoryStream -ArgumentList (, (ConvertTo-Utf8 -Text $Step.content))
    return (Get-FileHash -InputStream $stream -Algorithm SHA256).Hash
}

function Test-FileStep($Step) {
    if (Test-Path -LiteralPath $Step.path -PathType Container) {
        throw "$($Step.path) is a folder"
    }
    $there = Test-Path -LiteralPath $Step.path -PathType Leaf
    if ((Get-Field -Record $Step -Name 'ensure' -Default 'present') -eq 'absent') {
        if ($there) {
            return "$($Step.path) exists"
        }
        return ''
    }
    if (-not $there) {
        return "$($Step.path) does not exist"
    }
    if ((Get-FileHash -LiteralPath $Step.path -Algorithm SHA256).Hash -ne (Get-FileStepHash -Step $Step)) {
        return "$($Step.path) has other content"
    }
    return ''
}

function Set-FileStep($Step) {
    if ((Get-Field -Record $Step -Name 'ensure' -Default 'present') -eq 'absent') {
        Remove-Item -LiteralPath $Step.path -Force
    } else {
        Write-WholeFile -Path $Step.path -Bytes (Get-FileStepBytes -Step $Step)
    }
    return $false
}

# --- registry ------------------------------------------------------------------------------------

# The plan's value as Windows keeps it. DWord and QWord are signed in .NET, unsigned in people's heads.
function ConvertTo-RegistryData([string]$Type, $Value) {
    switch ($Type) {
        'DWord' {
            return [BitConverter]::ToInt32([BitConverter]::GetBytes([uint32]$Value), 0)
        }
        'QWord' {
            return [BitConverter]::ToInt64([BitConverter]::GetBytes([uint64]$Value), 0)
        }
        'MultiString' {
            return , [string[]]@($Value)
        }
        default {
            return [string]$Value
        }
    }
}

function Test-RegistryStep($Step) {
    $found = Get-RegistryValue -Key $Step.key -Name $Step.name
    $what = "$($Step.key)\$($Step.name)"
    if ((Get-Field -Record $Step -Name 'ensure' -Default 'present') -eq 'absent') {
        if ($null -ne $found) {
            return "$what exists"
        }
        return ''
    }
    if ($null -eq $found) {
        return "$what does not exist"
    }
    $type = Get-Field -Record $Step -Name 'type' -Default 'String'
    if ($found.Type -ne $type) {
        return "$what is a $($found.Type), not a $type"
    }
    $wanted = ConvertTo-RegistryData -Type $type -Value $Step.value
    if ((@($found.Data) -join "`n") -cne (@($wanted) -join "`n")) {
        return "$what has other data"
    }
    return ''
}

function Set-RegistryStep($Step) {
    if ((Get-Field -Record $Step -Name 'ensure' -Default 'present') -eq 'absent') {
        Remove-RegistryValue -Key $Step.key -Name $Step.name
    } else {
        $type = Get-Field -Record $Step -Name 'type' -Default 'String'
        $data = ConvertTo-RegistryData -Type $type -Value $Step.value
        Set-RegistryValue -Key $Step.key -Name $Step.name -Type $type -Data $data
    }
    return $false
}

# --- service -------------------------------------------------------------------------------------

$script:StartModes = @{ auto = 'Auto'; demand = 'Manual'; disabled = 'Disabled' }
$script:StartTypes = @{ auto = 'Automatic'; demand = 'Manual'; disabled = 'Disabled' }

# An unquoted path with blanks is an old way into a Windows machine: it is quoted here.
function Get-ServiceCommand($Step) {
    $binary = [string](Get-Field -Record $Step -Name 'binary' -Default '')
    if ($binary -match '\s' -and -not $binary.StartsWith('"')) {
        return '"' + $binary + '"'
    }
    return $binary
}

# What a service needs may not be there yet: Get-Service asks Windows for each by its name, and fails.
function Get-ServiceDependency([string]$Name) {
    $value = Get-RegistryValue -Key ('HKLM:\SYSTEM\CurrentControlSet\Services\' + $Name) -Name 'DependOnService'
    if ($null -eq $value) {
        return @()
    }
    return @($value.Data | Where-Object -FilterScript { $_ })
}

function Test-ServiceDefinition($Step, $Found) {
    $binary = Get-ServiceCommand -Step $Step
    if ($binary -ne '' -and [string]$Found.PathName -ne $binary) {
        return "the service $($Step.name) runs $($Found.PathName), not $binary"
    }
    $depend = Get-Field -Record $Step -Name 'depend' -Default $null
    if ($null -ne $depend -or $binary -ne '') {
        $wanted = (@($depend | Where-Object -FilterScript { $_ }) | Sort-Object) -join '/'
        $has = (@(Get-ServiceDependency -Name $Step.name) | Sort-Object) -join '/'
        if ($has -ne $wanted) {
            return "the service $($Step.name) depends on [$has], not on [$wanted]"
        }
    }
    $start = Get-Field -Record $Step -Name 'start' -Default 'auto'
    if ([string]$Found.StartMode -ne $script:StartModes[$start]) {
        return "the service $($Step.name) starts $($Found.StartMode), not $start"
    }
    return ''
}

function Get-ServiceRecord([string]$Name) {
    return (Get-CimInstance -ClassName Win32_Service -Filter ("Name='{0}'" -f $Name))
}

function Test-ServiceStep($Step) {
    $found = Get-ServiceRecord -Name $Step.name
    if ($null -eq $found) {
        return "the service $($Step.name) does not exist"
    }
    $wrong = Test-ServiceDefinition -Step $Step -Found $found
    if ($wrong -ne '') {
        return $wrong
    }
    $state = Get-Field -Record $Step -Name 'state' -Default 'running'
    if ($state -ne 'any' -and [string]$found.State -ne $state) {
        return "the service $($Step.name) is $($found.State), not $state"
    }
    return ''
}

function Set-ServiceDefinition($Step) {
    $depend = @(Get-Field -Record $Step -Name 'depend' -Default @())
    $binary = Get-ServiceCommand -Step $Step
    $start = Get-Field -Record $Step -Name 'start' -Default 'auto'
    $arguments = @('config', $Step.name)
    if ($binary -ne '') {
        $arguments += @('binPath=', $binary)
    }
    if ($depend.Count -gt 0) {
        $arguments += @('depend=', ($depend -join '/'))
    } elseif ($binary -ne '') {
        $arguments += @('depend=', '/')
    }
    $arguments += @('start=', $start)
    Invoke-Program -Name 'sc.exe' -Arguments $arguments -TimeoutSeconds 120 | Out-Null
}

function New-PlannedService($Step) {
    $binary = Get-ServiceCommand -Step $Step
    if ($binary -eq '') {
        throw "the service $($Step.name) does not exist, and the plan does not say which binary it runs"
    }
    $options = @{
        Name           = $Step.name
        BinaryPathName = $binary
        DisplayName    = (Get-Field -Record $Step -Name 'display_name' -Default $Step.name)
        StartupType    = $script:StartTypes[(Get-Field -Record $Step -Name 'start' -Default 'auto')]
    }
    $depend = @(Get-Field -Record $Step -Name 'depend' -Default @())
    if ($depend.Count -gt 0) {
        $options.DependsOn = [string[]]$depend
    }
    New-Service @options | Out-Null
}

# Start-Service waits for ever on a service that stays in StartPending: so ask, then look, bounded.
# 1056: it runs already; 1062: it is stopped already.
function Set-ServiceState([string]$Name, [string]$State) {
    if ($State -eq 'running') {
        Invoke-Program -Name 'sc.exe' -Arguments @('start', $Name) -ExitCodes @(0, 1056) -TimeoutSeconds 120 | Out-Null
    } else {
        Invoke-Program -Name 'sc.exe' -Arguments @('stop', $Name) -ExitCodes @(0, 1062) -TimeoutSeconds 120 | Out-Null
    }
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$ServiceTimeout)
    while ($true) {
        $found = Get-ServiceRecord -Name $Name
        if ([string]$found.State -eq $State) {
            return
        }
        $pending = [string]$found.State -like '*Pending'
        if (-not $pending -or [DateTime]::UtcNow -gt $deadline) {
            throw "the service $Name is $($found.State), not $State; its exit code is $($found.ExitCode)"
        }
        Start-Sleep -Milliseconds 250
    }
}

function Set-ServiceStep($Step) {
    $found = Get-ServiceRecord -Name $Step.name
    if ($null -eq $found) {
        New-PlannedService -Step $Step
    } elseif ((Test-ServiceDefinition -Step $Step -Found $found) -ne '') {
        Set-ServiceDefinition -Step $Step
    }
    $state = Get-Field -Record $Step -Name 'state' -Default 'running'
    if ($state -ne 'any') {
        Set-ServiceState -Name $Step.name -State $state
    }
    return $false
}

# --- acl -----------------------------------------------------------------------------------------

function Test-AclStep($Step) {
    return (Test-Access -Path $Step.path -Entries @($Step.entries))
}

function Set-AclStep($Step) {
    if (-not (Test-Path -LiteralPath $Step.path)) {
        throw "$($Step.path) does not exist"
    }
    Set-Access -Path $Step.path -Entries @($Step.entries)
    return $false
}

# --- driver --------------------------------------------------------------------------------------

# A package is in the store when a folder there holds this very .inf and, if given, catalogue.
# pnputil's listing is translated on localised Windows; the folder is not.
function Test-DriverStep($Step) {
    $store = Join-Path -Path $env:SystemRoot -ChildPath 'System32\DriverStore\FileRepository'
    $name = ((@($Step.payloads)[0].file -split '/')[-1]).ToLowerInvariant()
    $keys = @(@($Step.payloads) | Where-Object -FilterScript { $_.file -match '\.(inf|cat)$' })
    foreach ($folder in @(Get-ChildItem -Path $store -Filter ($name + '_*') -Directory -ErrorAction SilentlyContinue)) {
        $same = @($keys | Where-Object -FilterScript { Test-StoredFile -Folder $folder.FullName -Item $_ })
        if ($same.Count -eq $keys.Count) {
            return ''
        }
    }
    return "the driver package $($Step.name) is not in the driver store"
}

function Test-StoredFile([string]$Folder, $Item) {
    $path = Join-Path -Path $Folder -ChildPath (($Item.file -split '/')[-1])
    return ((Test-Path -LiteralPath $path) -and (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash -eq $Item.sha256)
}

# 259: the package is in the store, and no device here needs it now. 3010: a device needs a restart.
function Set-DriverStep($Step) {
    $inf = Convert-Path -LiteralPath (Get-MainPayload -Step $Step)
    $done = Invoke-Program -Name 'pnputil.exe' -Arguments @('/add-driver', $inf, '/install') -ExitCodes @(0, 259, 3010) -TimeoutSeconds ([int]$ProgramTimeout)
    return ($done.ExitCode -eq 3010)
}

# --- firewall ------------------------------------------------------------------------------------

function Test-FirewallStep($Step) {
    $rule = Get-NetFirewallRule -Name $Step.name -ErrorAction SilentlyContinue
    if ($null -eq $rule) {
        return "the firewall rule $($Step.name) does not exist"
    }
    $port = Get-NetFirewallPortFilter -AssociatedNetFirewallRule $rule
    $address = Get-NetFirewallAddressFilter -AssociatedNetFirewallRule $rule
    $found = @($rule.DisplayName, $rule.Enabled, $rule.Direction, $rule.Action, $rule.Profile, $port.Protocol, (@($port.LocalPort) -join ','), (@($address.RemoteAddress) -join ',')) -join ' | '
    $protocol = Get-Field -Record $Step -Name 'protocol' -Default 'TCP'
    $wanted = @($Step.display_name, 'True', 'Inbound', 'Allow', 'Any', $protocol, [string]$Step.port, 'Any') -join ' | '
    if ($found -ne $wanted) {
        return "the firewall rule $($Step.name) is [$found], not [$wanted]"
    }
    return ''
}

function Set-FirewallStep($Step) {
    if ($null -ne (Get-NetFirewallRule -Name $Step.name -ErrorAction SilentlyContinue)) {
        Remove-NetFirewallRule -Name $Step.name
    }
    $options = @{
        Name        = $Step.name
        DisplayName = $Step.display_name
        Enabled     = 'True'
        Direction   = 'Inbound'
        Action      = 'Allow'
        Profile     = 'Any'
        Protocol    = (Get-Field -Record $Step -Name 'protocol' -Default 'TCP')
        LocalPort   = [string]$Step.port
    }
    New-NetFirewallRule @options | Out-Null
    return $false
}

# --- user ----------------------------------------------------------------------------------------

function Test-GroupMember([string]$Group, $User) {
    $members = @(Get-LocalGroupMember -SID $Group | ForEach-Object -Process { [string]$_.SID })
    return ($members -contains [string]$User.SID)
}

function Test-UserStep($Step) {
    $user = Get-LocalUser -Name $Step.name -ErrorAction SilentlyContinue
    if ($null -eq $user) {
        return "the account $($Step.name) does not exist"
    }
    $enabled = [bool](Get-Field -Record $Step -Name 'enabled' -Default $true)
    if ([bool]$user.Enabled -ne $enabled) {
        return "the account $($Step.name) has Enabled=$($user.Enabled), not $enabled"
    }
    foreach ($group in @(Get-Field -Record $Step -Name 'groups' -Default @())) {
        if (-not (Test-GroupMember -Group $group -User $user)) {
            return "the account $($Step.name) is not in the group $group"
        }
    }
    return ''
}

function Set-UserStep($Step) {
    $user = Get-LocalUser -Name $Step.name -ErrorAction SilentlyContinue
    if ($null -eq $user) {
        $user = New-LocalUser -Name $Step.name -Password (New-RandomPassword) -PasswordNeverExpires
    }
    if ([bool](Get-Field -Record $Step -Name 'enabled' -Default $true)) {
        Enable-LocalUser -Name $Step.name
    } else {
        Disable-LocalUser -Name $Step.name
    }
    foreach ($group in @(Get-Field -Record $Step -Name 'groups' -Default @())) {
        if (-not (Test-GroupMember -Group $group -User $user)) {
            Add-LocalGroupMember -SID $group -Member $Step.name
        }
    }
    return $false
}

# --- script --------------------------------------------------------------------------------------

function Get-MarkerName($Step) {
    return ('{0}/{1}' -f $script:PlanName, $Step.id)
}

function Test-ScriptStep($Step) {
    $marker = Get-RegistryValue -Key $script:Markers -Name (Get-MarkerName -Step $Step)
    if ($null -eq $marker) {
        return "the script $(@($Step.payloads)[0].file) has not run"
    }
    if ([string]$marker.Data -ne @($Step.payloads)[0].sha256) {
        return "the script $(@($Step.payloads)[0].file) has run in another content"
    }
    return ''
}

function Set-ScriptStep($Step) {
    $path = Convert-Path -LiteralPath (Get-MainPayload -Step $Step)
    $arguments = @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', $path)
    $arguments += @(Get-Field -Record $Step -Name 'arguments' -Default @() | ForEach-Object -Process { [string]$_ })
    Invoke-Program -Name 'powershell.exe' -Arguments $arguments -TimeoutSeconds ([int]$ProgramTimeout) | Out-Null
    Set-RegistryValue -Key $script:Markers -Name (Get-MarkerName -Step $Step) -Type 'String' -Data @($Step.payloads)[0].sha256
    return $false
}

# --- update --------------------------------------------------------------------------------------

function Test-UpdateStep($Step) {
    $found = Get-CimInstance -ClassName Win32_QuickFixEngineering -Filter ("HotFixID='{0}'" -f $Step.kb)
    if ($null -eq $found) {
        return "the update $($Step.kb) is not installed"
    }
    return ''
}

# wusa.exe refuses to install in a network logon, which an SSH session is; DISM takes an .msu of a
# running Windows in the newer releases only. A task that runs wusa.exe as SYSTEM works in all.
# 2359302 (0x240006): already installed; 3010 and 1641: restart.
function Set-UpdateStep($Step) {
    $path = Convert-Path -LiteralPath (Get-MainPayload -Step $Step)
    $task = 'GoldenWindowsUpdate-' + $Step.id
    $action = New-ScheduledTaskAction -Execute (Find-Program -Name 'wusa.exe') -Argument ('"{0}" /quiet /norestart' -f $path)
    $principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
    Register-ScheduledTask -TaskName $task -Action $action -Principal $principal -Force | Out-Null
    try {
        Start-ScheduledTask -TaskName $task
        $code = Wait-UpdateTask -Task $task
    } finally {
        Unregister-ScheduledTask -TaskName $task -Confirm:$false
    }
    if (@(0, 1641, 3010, 2359302) -notcontains $code) {
        throw ('wusa.exe ended with 0x{0:x} for {1}' -f $code, $Step.kb)
    }
    return ($code -ne 2359302)
}

# 267009 (0x41301): the task is running; 267011 and 267045 (0x41303, 0x41325): it has not started yet.
function Wait-UpdateTask([string]$Task) {
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$ProgramTimeout)
    while ($true) {
        $code = [long](Get-ScheduledTaskInfo -TaskName $Task).LastTaskResult
        if (@(267009, 267011, 267045) -notcontains $code) {
            return $code
        }
        if ([DateTime]::UtcNow -gt $deadline) {
            Stop-ScheduledTask -TaskName $Task
            throw "wusa.exe did not end within $ProgramTimeout s and was stopped"
        }
        Start-Sleep -Milliseconds 500
    }
}

# --- reboot --------------------------------------------------------------------------------------

# Renames at the next start count when they put a new file in place. Deletions (an empty target) are
# left behind by nearly every installer and browser, and nothing waits for them.
function Test-PendingRename {
    $value = Get-RegistryValue -Key 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager' -Name 'PendingFileRenameOperations'
    if ($null -eq $value) {
        return $false
    }
    $entries = @($value.Data)
    for ($index = 1; $index -lt $entries.Count; $index += 2) {
        if ([string]$entries[$index] -ne '') {
            return $true
        }
    }
    return $false
}

function Get-PendingRestart {
    if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending') {
        return 'component servicing waits for a restart'
    }
    if (Test-Path -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired') {
        return 'Windows Update waits for a restart'
    }
    if (Test-PendingRename) {
        return 'files wait for a restart to be replaced'
    }
    return ''
}

function Test-RebootStep($Step) {
    if ((Get-Field -Record $Step -Name 'when' -Default 'pending') -eq 'pending') {
        return (Get-PendingRestart)
    }
    if ($null -eq (Get-RegistryValue -Key $script:Markers -Name (Get-MarkerName -Step $Step))) {
        return 'the restart has not taken place'
    }
    return ''
}

function Set-RebootStep($Step) {
    if ((Get-Field -Record $Step -Name 'when' -Default 'pending') -eq 'always') {
        Set-RegistryValue -Key $script:Markers -Name (Get-MarkerName -Step $Step) -Type 'String' -Data 'done'
    }
    return $true
}

# --- restarts ------------------------------------------------------------------------------------

# Every clean shutdown writes a new time here: the same value means that no restart took place.
function Get-ShutdownStamp {
    $value = Get-RegistryValue -Key 'HKLM:\SYSTEM\CurrentControlSet\Control\Windows' -Name 'ShutdownTime'
    if ($null -eq $value) {
        return 'none'
    }
    return (@($value.Data | ForEach-Object -Process { '{0:x2}' -f $_ }) -join '')
}

# How often this step has asked for a restart, and at which shutdown stamp it asked last.
function Get-RestartRecord($Step) {
    $value = Get-RegistryValue -Key $script:Restarts -Name (Get-MarkerName -Step $Step)
    if ($null -eq $value) {
        return [pscustomobject]@{ Count = 0; Stamp = '' }
    }
    $count, $stamp = [string]$value.Data -split ':'
    return [pscustomobject]@{ Count = [int]$count; Stamp = $stamp }
}

function Add-Restart($Step) {
    $record = Get-RestartRecord -Step $Step
    $data = '{0}:{1}' -f ($record.Count + 1), (Get-ShutdownStamp)
    Set-RegistryValue -Key $script:Restarts -Name (Get-MarkerName -Step $Step) -Type 'String' -Data $data
}

# --- the plan ------------------------------------------------------------------------------------

$script:Kinds = @{
    msi      = @{ Needs = @('payloads'); Takes = @('properties'); Extension = '.msi' }
    file     = @{ Needs = @('path'); Takes = @('payloads', 'content', 'ensure') }
    registry = @{ Needs = @('key', 'name'); Takes = @('type', 'value', 'ensure') }
    service  = @{ Needs = @('name'); Takes = @('start', 'state', 'binary', 'display_name', 'depend') }
    acl      = @{ Needs = @('path', 'entries'); Takes = @() }
    driver   = @{ Needs = @('payloads', 'name'); Takes = @(); Extension = '.inf' }
    firewall = @{ Needs = @('name', 'display_name', 'port'); Takes = @('protocol') }
    user     = @{ Needs = @('name'); Takes = @('groups', 'enabled') }
    script   = @{ Needs = @('payloads'); Takes = @('arguments', 'interpreter') }
    update   = @{ Needs = @('payloads', 'kb'); Takes = @(); Extension = '.msu' }
    reboot   = @{ Needs = @(); Takes = @('when') }
}
$script:Choices = @{
    ensure      = @('absent')
    type        = @('String', 'ExpandString', 'DWord', 'QWord', 'MultiString')
    start       = @('auto', 'demand', 'disabled')
    state       = @('running', 'stopped', 'any')
    protocol    = @('TCP', 'UDP')
    interpreter = @('powershell')
    when        = @('pending', 'always')
}

function Assert-Payload($Item, [string]$Where) {
    $file = [string](Get-Field -Record $Item -Name 'file' -Default '')
    if ($file -eq '' -or $file -match '[\\:*?\[\]]' -or $file.StartsWith('/') -or ($file -split '/') -contains '..') {
        throw "${Where}: the payload '$file' is not a relative path below the payload folder"
    }
    if ([string](Get-Field -Record $Item -Name 'sha256' -Default '') -notmatch '^[0-9a-fA-F]{64}\z') {
        throw "${Where}: the payload '$file' has no SHA-256"
    }
}

function Assert-Keys($Step, [string]$Where) {
    $kind = $script:Kinds[[string]$Step.kind]
    $known = @('id', 'kind', 'payloads') + $kind.Needs + $kind.Takes
    foreach ($property in $Step.PSObject.Properties) {
        if ($known -cnotcontains $property.Name) {
            throw "${Where}: the key '$($property.Name)' is not known"
        }
        if ($script:Choices.ContainsKey($property.Name) -and $script:Choices[$property.Name] -cnotcontains [string]$property.Value) {
            throw "${Where}: $($property.Name) is '$($property.Value)', not one of $($script:Choices[$property.Name] -join ', ')"
        }
    }
    foreach ($name in $kind.Needs) {
        if ($null -eq (Get-Field -Record $Step -Name $name -Default $null)) {
            throw "${Where}: the key '$name' is missing"
        }
    }
}

function Assert-Acl($Step, [string]$Where) {
    foreach ($entry in @($Step.entries)) {
        if ([string](Get-Field -Record $entry -Name 'identity' -Default '') -notmatch '^S-1-[0-9-]+\z') {
            throw "${Where}: an entry's identity is not a SID"
        }
        if (@($script:Rights.Keys) -cnotcontains [string](Get-Field -Record $entry -Name 'rights' -Default '')) {
            throw "${Where}: an entry's rights are neither FullControl nor ReadAndExecute"
        }
    }
}

# Without a drive a path would depend on the directory that the agent was started in.
function Assert-Path($Step, [string]$Where) {
    if ([string]$Step.path -notmatch '^[A-Za-z]:[\\/]') {
        throw "${Where}: the path '$($Step.path)' does not begin with a drive"
    }
}

function Assert-RegistryStep($Step, [string]$Where) {
    if ([string]$Step.key -notlike 'HKLM:\*') {
        throw "${Where}: the key $($Step.key) is not below HKLM:\"
    }
    if ((Get-Field -Record $Step -Name 'ensure' -Default 'present') -eq 'absent') {
        return
    }
    if ($null -eq $Step.PSObject.Properties['value'] -or $null -eq $Step.value) {
        throw "${Where}: the key 'value' is missing"
    }
    try {
        ConvertTo-RegistryData -Type (Get-Field -Record $Step -Name 'type' -Default 'String') -Value $Step.value | Out-Null
    } catch {
        throw "${Where}: '$($Step.value)' is not a $($Step.type)"
    }
}

# What a single kind asks for beyond its keys.
function Assert-Kind($Step, [string]$Where) {
    $payloads = @(Get-Field -Record $Step -Name 'payloads' -Default @())
    switch ([string]$Step.kind) {
        'file' {
            Assert-Path -Step $Step -Where $Where
            $given = [int]($payloads.Count -gt 0)
            foreach ($name in @('content', 'ensure')) {
                $given += [int]($null -ne $Step.PSObject.Properties[$name])
            }
            if ($given -ne 1) {
                throw "${Where}: exactly one of payloads, content and ensure must be given"
            }
        }
        'registry' {
            Assert-RegistryStep -Step $Step -Where $Where
        }
        'acl' {
            Assert-Path -Step $Step -Where $Where
            Assert-Acl -Step $Step -Where $Where
        }
        'service' {
            if ([string]$Step.name -notmatch '^[A-Za-z0-9_. -]+\z') {
                throw "${Where}: '$($Step.name)' is not the name of a service"
            }
        }
        'update' {
            if ([string]$Step.kb -notmatch '^KB[0-9]+\z') {
                throw "${Where}: '$($Step.kb)' is not the number of an update, such as KB5031234"
            }
        }
    }
    $kind = $script:Kinds[[string]$Step.kind]
    if ($kind.ContainsKey('Extension') -and ($payloads.Count -eq 0 -or [string]$payloads[0].file -notlike ('*' + $kind.Extension))) {
        throw "${Where}: the first payload is not a $($kind.Extension) file"
    }
    if ($kind.Needs -contains 'payloads' -and $payloads.Count -eq 0) {
        throw "${Where}: there is no payload"
    }
}

function Assert-Step($Step, $Seen) {
    $id = [string](Get-Field -Record $Step -Name 'id' -Default '')
    if ($id -cnotmatch '^[a-z0-9-]+\z') {
        throw "step '$id': an id is made of a-z, 0-9 and -"
    }
    if (-not $Seen.Add($id)) {
        throw "step ${id}: there are two steps of this id"
    }
    $kind = [string](Get-Field -Record $Step -Name 'kind' -Default '')
    if ($script:Kinds.Keys -cnotcontains $kind) {
        throw "step ${id}: the kind '$kind' is not known"
    }
    foreach ($item in @(Get-Field -Record $Step -Name 'payloads' -Default @())) {
        Assert-Payload -Item $item -Where "step $id"
    }
    Assert-Keys -Step $Step -Where "step $id"
    Assert-Kind -Step $Step -Where "step $id"
}

function Read-Plan([string]$Path) {
    if (-not (Test-Path -LiteralPath $Path -PathType Leaf)) {
        throw "there is no plan $Path"
    }
    try {
        $read = ConvertFrom-Json -InputObject ([string](Get-Content -LiteralPath $Path -Raw -Encoding UTF8))
    } catch {
        throw "the plan $Path is not JSON: $($_.Exception.Message)"
    }
    if ([string](Get-Field -Record $read -Name 'schema' -Default '') -ne '1') {
        throw "the plan $Path is not of schema 1"
    }
    if ([string](Get-Field -Record $read -Name 'name' -Default '') -cnotmatch '^[a-z0-9-]+\z') {
        throw "the plan $Path has no name made of a-z, 0-9 and -"
    }
    $seen = New-Object -TypeName 'System.Collections.Generic.HashSet[string]'
    foreach ($step in @(Get-Field -Record $read -Name 'steps' -Default @())) {
        Assert-Step -Step $step -Seen $seen
    }
    return $read
}

function Assert-Argument([string[]]$Unknown) {
    if ($Unknown.Count -gt 0) {
        throw "the argument $($Unknown[0]) is not known"
    }
    if (@('Apply', 'Test') -notcontains $Mode) {
        throw "-Mode is '$Mode', not Apply or Test"
    }
    if ($Plan -eq '') {
        throw '-Plan is missing'
    }
    foreach ($number in @($ProgramTimeout, $ServiceTimeout, $BusyTimeout)) {
        if ($number -notmatch '^[0-9]{1,6}\z') {
            throw "a timeout is '$number', not a number of seconds"
        }
    }
}

# --- running -------------------------------------------------------------------------------------

function Get-Outcome([string]$State, [string]$Message) {
    return [pscustomobject]@{ State = $State; Message = (Get-Sentence -Text $Message) }
}

# A restart that this step asked for has not taken place yet: ask again, set nothing. One that has
# taken place three times without effect would go on for ever: stop.
function Get-RestartOutcome($Step, [string]$Wrong) {
    $record = Get-RestartRecord -Step $Step
    if ($record.Count -gt 0 -and $record.Stamp -eq (Get-ShutdownStamp)) {
        return (Get-Outcome -State 'reboot' -Message '')
    }
    if ($record.Count -ge 3) {
        return (Get-Outcome -State 'failed' -Message "after $($record.Count) restarts: $Wrong")
    }
    return $null
}

function Invoke-Set($Step, [string]$Wrong) {
    $outcome = Get-RestartOutcome -Step $Step -Wrong $Wrong
    if ($null -ne $outcome) {
        return $outcome
    }
    $setter = Get-Command -Name ('Set-{0}Step' -f $Step.kind) -CommandType Function
    $restart = & $setter -Step $Step
    if ($restart) {
        Add-Restart -Step $Step
        return (Get-Outcome -State 'reboot' -Message '')
    }
    $tester = Get-Command -Name ('Test-{0}Step' -f $Step.kind) -CommandType Function
    $left = & $tester -Step $Step
    if ($left -ne '') {
        return (Get-Outcome -State 'failed' -Message "it was set, but $left")
    }
    return (Get-Outcome -State 'changed' -Message '')
}

function Invoke-Step($Step) {
    try {
        $wrong = Test-Payload -Step $Step
        if ($wrong -ne '') {
            return (Get-Outcome -State 'failed' -Message $wrong)
        }
        $tester = Get-Command -Name ('Test-{0}Step' -f $Step.kind) -CommandType Function
        $wrong = & $tester -Step $Step
        if ($wrong -eq '') {
            return (Get-Outcome -State 'ok' -Message '')
        }
        if ($Mode -eq 'Test') {
            return (Get-Outcome -State 'wrong' -Message $wrong)
        }
        return (Invoke-Set -Step $Step -Wrong $wrong)
    } catch {
        Write-Note -Text $_.ScriptStackTrace
        return (Get-Outcome -State 'failed' -Message $_.Exception.Message)
    }
}

# The plan's result is the worst of its steps'; a failure and a restart end an Apply at once.
function Invoke-Plan($Read) {
    $steps = @(Get-Field -Record $Read -Name 'steps' -Default @())
    $result = 'done'
    $message = ''
    for ($index = 0; $index -lt $steps.Count; $index++) {
        $step = $steps[$index]
        $since = [DateTime]::UtcNow
        $outcome = Invoke-Step -Step $step
        Write-JsonLine -Record ([ordered]@{ step = $step.id; kind = $step.kind; state = $outcome.State; seconds = (Get-Seconds -Since $since); message = $outcome.Message })
        Write-Note -Text ('step {0}: {1} {2}' -f $step.id, $outcome.State, $outcome.Message)
        Send-Beacon -Text ('step {0} {1}/{2} {3} {4}' -f $Read.name, ($index + 1), $steps.Count, $step.id, $outcome.State)
        if ($outcome.State -eq 'failed' -or ($outcome.State -eq 'wrong' -and $result -ne 'failed') -or $outcome.State -eq 'reboot') {
            $result = $outcome.State
            $message = '{0}: {1}' -f $step.id, $outcome.Message
        }
        if ($Mode -eq 'Apply' -and $result -ne 'done') {
            break
        }
    }
    return [pscustomobject]@{ Result = $result; Count = $steps.Count; Message = $message }
}

function Write-PlanLine([string]$Name, $Outcome, $Since) {
    Write-JsonLine -Record ([ordered]@{ plan = $Name; result = $Outcome.Result; steps = $Outcome.Count; seconds = (Get-Seconds -Since $Since); message = (Get-Sentence -Text $Outcome.Message) })
}

$began = [DateTime]::UtcNow
try {
    Assert-Argument -Unknown @($args | ForEach-Object -Process { [string]$_ })
    $read = Read-Plan -Path $Plan
} catch {
    $outcome = [pscustomobject]@{ Result = 'failed'; Count = 0; Message = $_.Exception.Message }
    Write-PlanLine -Name '' -Outcome $outcome -Since $began
    exit 2
}

$script:PlanName = [string]$read.name
if ($Payload -eq '') {
    $Payload = Join-Path -Path (Split-Path -Path $Plan -Parent) -ChildPath 'payload'
}
if ($Log -eq '') {
    $Log = Join-Path -Path $env:ProgramData -ChildPath ('golden\log\{0}.log' -f $script:PlanName)
}
$transcript = Open-Transcript -Path $Log
$outcome = Invoke-Plan -Read $read
Write-PlanLine -Name $script:PlanName -Outcome $outcome -Since $began
Send-Beacon -Text ('plan {0} {1}' -f $script:PlanName, $outcome.Result)
if ($transcript) {
    Stop-Transcript | Out-Null
}
$codes = @{ done = 0; failed = 1; wrong = 3; reboot = 4 }
exit $codes[$outcome.Result]
