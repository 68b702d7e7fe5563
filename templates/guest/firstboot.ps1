# First boot: makes a copy of a sealed image its owner's machine. Runs at every start as SYSTEM.
#
# Goes in: the attached discs (Lima's, NoCloud's or none), found by label and content. Comes out: keys,
# accounts, host name, host keys, a grown C:, what the disc wants run, C:\ProgramData\golden\
# first-boot.json, beacons. The same instance again changes nothing. docs/guest-contract.md.

[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseShouldProcessForStateChangingFunctions', '', Scope = 'Function', Target = '*', Justification = 'Nobody is asked in an unattended run.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSUseSingularNouns', '', Scope = 'Function', Target = '*Access', Justification = 'Access is a singular noun.')]
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSReviewUnusedParameter', '', Justification = 'The parameters are used inside functions, where this rule does not look.')]
param(
    [switch]$Register,
    [switch]$CloudbaseKeys,
    [string]$SetupTimeout = '3600',
    [string]$DiscTimeout = '15',
    [string]$ProgramTimeout = '3600'
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
$script:KeyFile = Join-Path -Path $script:SshFolder -ChildPath 'administrators_authorized_keys'
$script:Facts = 'HKLM:\SOFTWARE\GoldenWindows'
$script:Record = 'HKLM:\SOFTWARE\GoldenWindows\FirstBoot'
$script:Administrators = 'S-1-5-32-544'
$script:TaskName = 'Golden Windows First Boot'
$script:KeyPattern = '(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9-]+@openssh\.com) AAAA[0-9A-Za-z+/]+={0,3}'
# cloud-init takes both.
$script:KeyNames = @('ssh_authorized_keys', 'ssh-authorized-keys')
$script:YamlQuoted = '(?:''(?:[^'']|'''')*''(?!'')|"(?:[^"\\]|\\.)*")'
$script:YamlClosed = '^(?:{0}|\[(?>\s*(?:{0}|[^\]"'',\s][^\],]*)\s*,?)*\s*\])' -f $script:YamlQuoted
$script:Owners = @(
    [pscustomobject]@{ identity = 'S-1-5-18'; rights = 'FullControl' },
    [pscustomobject]@{ identity = 'S-1-5-32-544'; rights = 'FullControl' }
)
$script:Errors = New-Object -TypeName 'System.Collections.Generic.List[string]'

# What goes wrong is told and remembered; it never stops the rest.
function Add-Failure([string]$Text) {
    $line = Get-Sentence -Text $Text
    Write-Note -Text ('wrong: ' + $line)
    $script:Errors.Add($line)
}

# Runs a part; a part that fails must not keep its owner from the machine. The body sees this function's
# variables before its caller's: so they have names that no body uses.
function Invoke-Part([string]$PartName, [scriptblock]$PartBody) {
    try {
        & $PartBody | Out-Null
        return $true
    } catch {
        Write-Note -Text $_.ScriptStackTrace
        Add-Failure -Text ('{0}: {1}' -f $PartName, $_.Exception.Message)
        return $false
    }
}

function Get-Fact([string]$Key, [string]$Name) {
    $value = Get-RegistryValue -Key $Key -Name $Name
    if ($null -eq $value) {
        return ''
    }
    return [string]$value.Data
}

# --- YAML: the small part of it that cloud-config files are made of ------------------------------
# Mappings, sequences, plain and quoted texts, also over several lines, | and > blocks, [a, b]; everything
# is a text. Anchors, aliases, tags, {a: b} and [[a]] are errors that name the line.

function Skip-YamlBlank($Reader) {
    while ($Reader.Next -lt $Reader.Lines.Count -and $Reader.Lines[$Reader.Next] -match '^\s*(#.*)?$') {
        $Reader.Next++
    }
}

# The next line that says something, without taking it: its indent and its text; nothing at the end.
function Get-YamlLine($Reader) {
    Skip-YamlBlank -Reader $Reader
    if ($Reader.Next -ge $Reader.Lines.Count) {
        return $null
    }
    $raw = $Reader.Lines[$Reader.Next]
    if ($raw -match '^ *\t') {
        throw "line $($Reader.First + $Reader.Next): a tab indents"
    }
    $text = $raw.TrimStart(' ')
    return [pscustomobject]@{ Indent = $raw.Length - $text.Length; Text = $text.TrimEnd(); Number = $Reader.First + $Reader.Next }
}

function Get-YamlEntry([string]$Text) {
    if ($Text -match '^("[^"\\]+"|''[^'']+''|[A-Za-z0-9_./-]+)\s*:(?:\s+(.*))?$') {
        $rest = ''
        if ($Matches.ContainsKey(2)) {
            $rest = $Matches[2].Trim()
        }
        if ($rest.StartsWith('#')) {
            $rest = ''
        }
        return [pscustomobject]@{ Key = $Matches[1].Trim('"', ''''); Rest = $rest }
    }
    return $null
}

# What a backslash and the letters behind it stand for in double quotes.
function Get-YamlEscape([string]$Code, [int]$Number) {
    if ($Code -cmatch '^[xuU][0-9a-fA-F]{2,8}$') {
        $value = [Convert]::ToInt32($Code.Substring(1), 16)
        if ($value -lt 0x10000) {
            return [string][char]$value
        }
        return [char]::ConvertFromUtf32($value)
    }
    if (' "/\'.Contains($Code)) {
        return $Code
    }
    switch -CaseSensitive ($Code) {
        'n' {
            return "`n"
        }
        't' {
            return "`t"
        }
        'r' {
            return "`r"
        }
        'e' {
            return [string][char]27
        }
        '0' {
            return "`0"
        }
    }
    throw "line ${Number}: the escape \$Code is not understood"
}

function ConvertFrom-YamlEscape([string]$Text, [int]$Number) {
    $parts = New-Object -TypeName System.Text.StringBuilder
    $end = 0
    foreach ($match in [regex]::Matches($Text, '\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)')) {
        [void]$parts.Append($Text.Substring($end, $match.Index - $end))
        [void]$parts.Append((Get-YamlEscape -Code $match.Groups[1].Value -Number $Number))
        $end = $match.Index + $match.Length
    }
    return $parts.ToString() + $Text.Substring($end)
}

# A text in quotes, and what stands behind it.
function Read-YamlQuoted([string]$Text, [int]$Number) {
    if ($Text -match '^''((?:[^'']|'''')*)''(?!'')([\s\S]*)$') {
        return [pscustomobject]@{ Value = $Matches[1].Replace('''''', ''''); Rest = $Matches[2] }
    }
    if ($Text -match '^"((?:[^"\\]|\\.)*)"([\s\S]*)$') {
        $rest = $Matches[2]
        return [pscustomobject]@{ Value = (ConvertFrom-YamlEscape -Text $Matches[1] -Number $Number); Rest = $rest }
    }
    throw "line ${Number}: a quote is not closed"
}

# A text in quotes and a [list] go on in deeper lines until they are closed: the end of a line is a
# blank, an empty line is a newline, and in double quotes a backslash joins two lines. Nobody writes
# thousands of lines so, and looking for the end anew after each would take for ever.
function Join-YamlLine($Reader, [string]$Text, [int]$Parent) {
    $empty = 0
    $last = [Math]::Min($Reader.Lines.Count, $Reader.Next + 1000)
    while ($Reader.Next -lt $last -and $Text -notmatch $script:YamlClosed) {
        $raw = $Reader.Lines[$Reader.Next]
        $line = $raw.Trim(' ')
        if ($line -notmatch '^(\]|$)' -and $raw.Length - $raw.TrimStart(' ').Length -le $Parent) {
            break
        }
        $Reader.Next++
        if ($line -eq '') {
            $empty++
        } elseif ($empty -gt 0) {
            $Text = $Text.TrimEnd(' ') + ("`n" * $empty) + $line
            $empty = 0
        } elseif (($Text -replace $script:YamlQuoted, '') -match '^[^"'']*"[\s\S]*(?<!\\)(?:\\\\)*\\$') {
            $Text = $Text.Substring(0, $Text.Length - 1) + $line
        } else {
            $Text = $Text.TrimEnd(' ') + ' ' + $line
        }
    }
    return $Text
}

# So does a plain text, as long as no line of it looks like a key, an item or a remark.
function Join-YamlPlain($Reader, [string]$Text, [int]$Parent) {
    $last = [Math]::Min($Reader.Lines.Count, $Reader.Next + 1000)
    while ($Reader.Next -lt $last -and $Text -notmatch '\s#') {
        $raw = $Reader.Lines[$Reader.Next]
        $line = $raw.Trim()
        if ($raw -notmatch '^ +[^\s#]' -or $raw.Length - $raw.TrimStart(' ').Length -le $Parent) {
            break
        }
        if ($line -match '^-(\s|$)' -or $null -ne (Get-YamlEntry -Text $line)) {
            break
        }
        $Reader.Next++
        $Text = $Text + ' ' + $line
    }
    return $Text
}

function Read-YamlFlow([string]$Text, [int]$Number) {
    $rest = $Text.Substring(1).TrimStart()
    $items = New-Object -TypeName 'System.Collections.Generic.List[object]'
    while (-not $rest.StartsWith(']')) {
        if ($rest -match '^["'']') {
            $quoted = Read-YamlQuoted -Text $rest -Number $Number
            $items.Add($quoted.Value)
            $rest = $quoted.Rest.TrimStart()
        } elseif ($rest -match '^([^,\[\]{}"''][^,\[\]{}]*)([\s\S]*)$') {
            $items.Add($Matches[1].Trim())
            $rest = $Matches[2]
        } else {
            throw "line ${Number}: this [list] is not understood"
        }
        if ($rest.StartsWith(',')) {
            $rest = $rest.Substring(1).TrimStart()
        } elseif (-not $rest.StartsWith(']')) {
            throw "line ${Number}: a [list] is not closed"
        }
    }
    if ($rest -notmatch '^\]\s*(#.*)?$') {
        throw "line ${Number}: something follows a closing bracket"
    }
    return , $items.ToArray()
}

# The lines of a | or > block: those that are indented deeper than its parent, less their indent, which
# its first line says, or a digit of its header.
function Read-YamlBlockLine($Reader, [int]$Parent, [int]$Indent) {
    $lines = New-Object -TypeName 'System.Collections.Generic.List[string]'
    while ($Reader.Next -lt $Reader.Lines.Count) {
        $raw = $Reader.Lines[$Reader.Next]
        $depth = $raw.Length - $raw.TrimStart(' ').Length
        if ($raw.Trim(' ') -ne '') {
            if ($Indent -lt 0) {
                $Indent = $depth
            }
            if ($depth -le $Parent -or $depth -lt $Indent) {
                break
            }
        }
        $lines.Add($raw.Substring([Math]::Min([Math]::Max($Indent, 0), $raw.Length)))
        $Reader.Next++
    }
    return $lines -join "`n"
}

# Between two lines of a > block that are not indented further, one newline is a blank and the first of
# several goes. What stands behind the last line is kept by +, dropped by -, and else one newline.
function Read-YamlBlock($Reader, [string]$Header, [int]$Parent, [int]$Number) {
    if ($Header -notmatch '^([|>])([+-]?)([1-9]?)([+-]?)\s*(#.*)?$') {
        throw "line ${Number}: the block header $Header is not understood"
    }
    $style, $chomp, $indent = $Matches[1], ($Matches[2] + $Matches[4]), -1
    if ($Matches[3] -ne '') {
        $indent = $Parent + [int]$Matches[3]
    }
    $text = Read-YamlBlockLine -Reader $Reader -Parent $Parent -Indent $indent
    $body = $text.TrimEnd("`n")
    $tail = $text.Substring($body.Length)
    if ($style -eq '>') {
        $body = $body -replace '(?<=(?:^|\n)[^ \t\n][^\n]*)\n(?=[^ \t\n])', ' '
        $body = $body -replace '(?<=(?:^|\n)[^ \t\n][^\n]*)\n(?=\n+[^ \t\n])', ''
    }
    if ($chomp -eq '+') {
        return $body + $tail + "`n"
    }
    if ($chomp -eq '-' -or $body -eq '') {
        return $body
    }
    return $body + "`n"
}

function Read-YamlScalar($Reader, [string]$Text, [int]$Parent, [int]$Number) {
    if ($Text -match '^[|>]') {
        return (Read-YamlBlock -Reader $Reader -Header $Text -Parent $Parent -Number $Number)
    }
    if ($Text -match '^["''\[]') {
        $Text = Join-YamlLine -Reader $Reader -Text $Text -Parent $Parent
    }
    if ($Text.StartsWith('[')) {
        return , (Read-YamlFlow -Text $Text -Number $Number)
    }
    if ($Text -match '^["'']') {
        $quoted = Read-YamlQuoted -Text $Text -Number $Number
        if ($quoted.Rest -notmatch '^\s*(#.*)?$') {
            throw "line ${Number}: something follows a closing quote"
        }
        return $quoted.Value
    }
    if ($Text -match '^[&*!{%@`]') {
        throw "line ${Number}: '$($Text.Substring(0, 1))' begins something that is not understood here"
    }
    return ((Join-YamlPlain -Reader $Reader -Text $Text -Parent $Parent) -replace '\s+#.*$', '').Trim()
}

function Read-YamlList($Reader, [int]$Indent) {
    $items = New-Object -TypeName 'System.Collections.Generic.List[object]'
    while ($true) {
        $line = Get-YamlLine -Reader $Reader
        if ($null -eq $line -or $line.Indent -lt $Indent -or $line.Text -notmatch '^-(\s+(.*))?$') {
            break
        }
        $offset = $line.Text.Length - $line.Text.Substring(1).TrimStart().Length
        $rest = $line.Text.Substring(1).Trim()
        if ($line.Indent -ne $Indent) {
            throw "line $($line.Number): it is indented differently from the items before it"
        }
        if ($rest -eq '') {
            $Reader.Next++
            $items.Add((Read-YamlNode -Reader $Reader -Minimum ($Indent + 1)))
        } elseif ($rest -match '^-\s' -or $null -ne (Get-YamlEntry -Text $rest)) {
            $Reader.Lines[$Reader.Next] = (' ' * ($Indent + $offset)) + $rest
            $items.Add((Read-YamlNode -Reader $Reader -Minimum ($Indent + 1)))
        } else {
            $Reader.Next++
            $items.Add((Read-YamlScalar -Reader $Reader -Text $rest -Parent $Indent -Number $line.Number))
        }
    }
    return , $items.ToArray()
}

function Read-YamlMap($Reader, [int]$Indent) {
    $map = [ordered]@{}
    while ($true) {
        $line = Get-YamlLine -Reader $Reader
        if ($null -eq $line -or $line.Indent -lt $Indent) {
            break
        }
        $entry = Get-YamlEntry -Text $line.Text
        if ($line.Indent -ne $Indent -or $null -eq $entry) {
            throw "line $($line.Number): a key and a colon are expected here"
        }
        if ($map.Contains($entry.Key)) {
            throw "line $($line.Number): the key $($entry.Key) is there twice"
        }
        $Reader.Next++
        if ($entry.Rest -ne '') {
            $map[$entry.Key] = Read-YamlScalar -Reader $Reader -Text $entry.Rest -Parent $Indent -Number $line.Number
        } else {
            $map[$entry.Key] = Read-YamlChild -Reader $Reader -Indent $Indent
        }
    }
    return $map
}

# What stands below "key:" is indented deeper; a sequence may also stand at the key's own indent.
function Read-YamlChild($Reader, [int]$Indent) {
    $line = Get-YamlLine -Reader $Reader
    if ($null -ne $line -and $line.Indent -eq $Indent -and $line.Text -match '^-(\s|$)') {
        return , (Read-YamlList -Reader $Reader -Indent $Indent)
    }
    return , (Read-YamlNode -Reader $Reader -Minimum ($Indent + 1))
}

# A list of one is handed on as it is: without the comma PowerShell would take it for its element.
function Read-YamlNode($Reader, [int]$Minimum) {
    $line = Get-YamlLine -Reader $Reader
    if ($null -eq $line -or $line.Indent -lt $Minimum) {
        return ''
    }
    if ($line.Text -match '^-(\s|$)') {
        return , (Read-YamlList -Reader $Reader -Indent $line.Indent)
    }
    if ($null -ne (Get-YamlEntry -Text $line.Text)) {
        return (Read-YamlMap -Reader $Reader -Indent $line.Indent)
    }
    $Reader.Next++
    return , (Read-YamlScalar -Reader $Reader -Text $line.Text -Parent ($Minimum - 1) -Number $line.Number)
}

# A document's top-level keys, each read by itself: one that is not understood costs only itself.
# Gives the mapping; the texts of the keys that failed come in -Broken.
function Read-Yaml([string]$Text, [string]$Name, $Broken) {
    $map = [ordered]@{}
    $lines = @(($Text -replace '\r?\n\z', '') -split '\r?\n')
    $starts = @(for ($index = 0; $index -lt $lines.Count; $index++) {
            if ($lines[$index] -match '^[^\s#\]-]' -or $lines[$index] -match '^-\s') {
                $index
            }
        })
    for ($part = 0; $part -lt $starts.Count; $part++) {
        if ($lines[$starts[$part]] -match '^(\.\.\.|---)' -or ($part -gt 0 -and $lines[$starts[$part]] -match '^-\s')) {
            continue
        }
        $chunk = Get-YamlChunk -Lines $lines -Starts $starts -Part $part
        $entry = Get-YamlEntry -Text $chunk[0].TrimEnd()
        try {
            Read-YamlPart -Map $map -Chunk $chunk -First ($starts[$part] + 1)
        } catch {
            Add-Failure -Text ('{0}: {1}' -f $Name, $_.Exception.Message)
            if ($null -ne $entry) {
                $Broken[$entry.Key] = $chunk -join "`n"
            }
        }
    }
    return $map
}

# The lines of a top-level key; a sequence at the key's own indent belongs to it.
function Get-YamlChunk([string[]]$Lines, [int[]]$Starts, [int]$Part) {
    $next = $Part + 1
    while ($next -lt $Starts.Count -and $Lines[$Starts[$next]] -match '^-\s') {
        $next++
    }
    $last = $Lines.Count - 1
    if ($next -lt $Starts.Count) {
        $last = $Starts[$next] - 1
    }
    return , [string[]]@($Lines[$Starts[$Part]..$last])
}

function Read-YamlPart($Map, [string[]]$Chunk, [int]$First) {
    $reader = @{ Lines = $Chunk; Next = 0; First = $First }
    $read = Read-YamlMap -Reader $reader -Indent 0
    foreach ($key in @($read.Keys)) {
        if ($Map.Contains($key)) {
            throw "line ${First}: the key $key is there twice"
        }
        $Map[$key] = $read[$key]
    }
}

# --- discs ---------------------------------------------------------------------------------------

function Test-RootFile([string]$Root, [string]$Name) {
    return (Test-Path -LiteralPath (Join-Path -Path $Root -ChildPath $Name) -PathType Leaf)
}

# Which of the two a volume is, or nothing. Its label decides for NoCloud, its content for Lima.
function Get-DiscKind($Volume, [string]$Root) {
    if ([string]$Volume.FileSystemLabel -eq 'cidata') {
        return 'nocloud'
    }
    if (Test-RootFile -Root $Root -Name 'ssh_authorized_keys') {
        return 'lima'
    }
    if ([string]$Volume.FileSystemLabel -eq 'autounattend') {
        return 'lima'
    }
    return ''
}

function Find-Disc {
    $system = ([string]$env:SystemDrive).TrimEnd(':')
    foreach ($volume in @(Get-Volume)) {
        if ([string]$volume.DriveLetter -notmatch '^[A-Za-z]$') {
            Write-Note -Text ('the volume "{0}" has no drive letter and is not looked at' -f $volume.FileSystemLabel)
            continue
        }
        if ([string]$volume.DriveLetter -eq $system) {
            continue
        }
        $root = '{0}:\' -f $volume.DriveLetter
        $kind = Get-DiscKind -Volume $volume -Root $root
        if ($kind -ne '') {
            return [pscustomobject]@{ Kind = $kind; Root = $root }
        }
    }
    return $null
}

# A disc may turn up a little later than this task does, and so may the service that lists volumes.
function Wait-Disc {
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$DiscTimeout)
    while ($true) {
        $disc = $null
        $wrong = ''
        try {
            $disc = Find-Disc
        } catch {
            $wrong = 'the volumes cannot be listed: ' + $_.Exception.Message
            Write-Note -Text $wrong
        }
        if ($null -ne $disc) {
            return $disc
        }
        if ([DateTime]::UtcNow -ge $deadline) {
            if ($wrong -ne '') {
                Add-Failure -Text $wrong
            }
            return $null
        }
        Start-Sleep -Milliseconds 1000
    }
}

# The first MiB of a file that is larger: what stands there may be the keys that let its owner in.
function Read-DiscHead([string]$Path) {
    $reader = New-Object -TypeName System.IO.StreamReader -ArgumentList (Convert-Path -LiteralPath $Path)
    try {
        $head = New-Object -TypeName 'char[]' -ArgumentList 1048576
        $count = $reader.ReadBlock($head, 0, $head.Length)
        return (New-Object -TypeName string -ArgumentList $head, 0, $count)
    } finally {
        $reader.Dispose()
    }
}

# The text of a file of the disc. Of one that is too large the beginning goes to -Broken.
function Read-DiscFile([string]$Root, [string]$Name, $Broken = @{}) {
    $path = Join-Path -Path $Root -ChildPath $Name
    if (-not (Test-Path -LiteralPath $path -PathType Leaf)) {
        Add-Failure -Text "the disc has no $Name"
        return ''
    }
    try {
        if ((Get-Item -LiteralPath $path).Length -gt 1048576) {
            Add-Failure -Text "$Name is larger than 1 MiB: only keys are taken from it"
            $Broken['users'] = [string]$Broken['users'] + (Read-DiscHead -Path $path)
            return ''
        }
        return [System.IO.File]::ReadAllText((Convert-Path -LiteralPath $path), [System.Text.Encoding]::UTF8)
    } catch {
        Add-Failure -Text ('{0}: {1}' -f $Name, $_.Exception.Message)
        return ''
    }
}

function Get-Digest([string]$Text) {
    $stream = New-Object -TypeName System.IO.MemoryStream -ArgumentList (, (ConvertTo-Utf8 -Text $Text))
    return (Get-FileHash -InputStream $stream -Algorithm SHA256).Hash.ToLowerInvariant()
}

function New-Wish([string]$Disc) {
    return [pscustomobject]@{
        Disc     = $Disc
        Instance = ''
        HostName = ''
        Keys     = (New-Object -TypeName 'System.Collections.Generic.List[string]')
        Users    = (New-Object -TypeName 'System.Collections.Generic.List[string]')
        Commands = (New-Object -TypeName 'System.Collections.Generic.List[object]')
    }
}

# A public key, alone on its line; options before it, as OpenSSH allows, stay.
function Add-Key($Wish, [string]$Line) {
    $key = $Line.Trim()
    if ($key -eq '' -or $key.StartsWith('#')) {
        return
    }
    if ($key -cnotmatch $script:KeyPattern -or $key -match '[\x00-\x1f]') {
        Add-Failure -Text ('this is not a public key: {0}' -f $key.Substring(0, [Math]::Min(40, $key.Length)))
        return
    }
    if (-not $Wish.Keys.Contains($key)) {
        $Wish.Keys.Add($key)
    }
}

function Add-User($Wish, [string]$Name) {
    if ($Name -notmatch '^[A-Za-z0-9_][A-Za-z0-9_. -]{0,19}$' -or $Name.EndsWith('.')) {
        Add-Failure -Text "'$Name' is not the name of an account"
        return
    }
    if (-not $Wish.Users.Contains($Name)) {
        $Wish.Users.Add($Name)
    }
}

# --- Lima's disc ---------------------------------------------------------------------------------

# The account that Lima logs in as is named in its answer file; without one it is the image's own.
function Get-LimaUser([string]$Root) {
    if (-not (Test-RootFile -Root $Root -Name 'autounattend.xml')) {
        return ''
    }
    $xml = New-Object -TypeName System.Xml.XmlDocument
    $xml.XmlResolver = $null
    $xml.LoadXml((Read-DiscFile -Root $Root -Name 'autounattend.xml').TrimStart([char]0xFEFF))
    $node = $xml.SelectSingleNode('//*[local-name()="LocalAccount"]/*[local-name()="Name"]')
    if ($null -eq $node) {
        return ''
    }
    return $node.InnerText.Trim()
}

function Read-LimaDisc([string]$Root) {
    $wish = New-Wish -Disc 'lima'
    $keys = Read-DiscFile -Root $Root -Name 'ssh_authorized_keys'
    foreach ($line in ($keys -split '\r?\n')) {
        Add-Key -Wish $wish -Line $line
    }
    Invoke-Part -PartName 'autounattend.xml' -PartBody {
        $name = Get-LimaUser -Root $Root
        if ($name -ne '') {
            Add-User -Wish $wish -Name $name
        }
    } | Out-Null
    $identity = $keys
    foreach ($stage in @('dependency', 'system', 'user')) {
        $folder = Join-Path -Path $Root -ChildPath ('provision.' + $stage)
        foreach ($file in @(Get-ChildItem -LiteralPath $folder -File -ErrorAction SilentlyContinue | Sort-Object -Property Name)) {
            $text = Read-DiscFile -Root $folder -Name $file.Name
            $identity += "`n" + $text
            $wish.Commands.Add([pscustomobject]@{ Kind = 'ps1'; Name = ('provision.{0}/{1}' -f $stage, $file.Name); Text = $text; Words = @() })
        }
    }
    $wish.Instance = 'lima-' + (Get-Digest -Text $identity).Substring(0, 16)
    return $wish
}

# --- NoCloud's disc ------------------------------------------------------------------------------

function Read-MetaData([string]$Text, $Broken) {
    $clean = $Text.TrimStart([char]0xFEFF)
    if ($clean.TrimStart().StartsWith('{')) {
        $map = [ordered]@{}
        $Broken['public-keys'] = $clean
        foreach ($property in (ConvertFrom-Json -InputObject $clean).PSObject.Properties) {
            $map[$property.Name] = $property.Value
        }
        $Broken.Remove('public-keys')
        return $map
    }
    return (Read-Yaml -Text $clean -Name 'meta-data' -Broken $Broken)
}

# A number or a truth, as JSON has them, is as good as its text.
function Get-Text($Map, [string]$Name) {
    if (-not $Map.Contains($Name) -or $null -eq $Map[$Name]) {
        return ''
    }
    if ($Map[$Name] -isnot [string] -and $Map[$Name] -isnot [System.ValueType]) {
        Add-Failure -Text "$Name is not a text"
        return ''
    }
    return ([string]$Map[$Name]).Trim()
}

function Add-UserEntry($Wish, $Entry) {
    if ($Entry -is [string]) {
        if ($Entry -ne 'default') {
            Add-User -Wish $Wish -Name $Entry
        }
        return
    }
    if ($Entry -isnot [System.Collections.IDictionary]) {
        Add-Failure -Text 'user-data: an entry of users is neither a name nor a mapping'
        return
    }
    Write-UnknownKey -Map $Entry -Known (@('name', 'groups') + $script:KeyNames) -Where 'users'
    foreach ($line in @(Get-KeyList -Map $Entry -Names $script:KeyNames)) {
        Add-Key -Wish $Wish -Line $line
    }
    Add-User -Wish $Wish -Name (Get-Text -Map $Entry -Name 'name')
}

function Get-KeyList($Map, [string[]]$Names) {
    foreach ($name in $Names) {
        if ($Map.Contains($name)) {
            Get-PlainText -Value $Map[$name]
        }
    }
}

# The texts of a value, a list, or a mapping: KubeVirt numbers keys, EC2 names their form.
function Get-PlainText($Value) {
    if ($Value -is [System.Collections.IDictionary]) {
        $Value = @($Value.Values)
    } elseif ($Value -is [System.Management.Automation.PSCustomObject]) {
        $Value = @($Value.PSObject.Properties | ForEach-Object -Process { $_.Value })
    }
    if ($Value -is [array]) {
        foreach ($part in $Value) {
            Get-PlainText -Value $part
        }
    } else {
        [string]$Value
    }
}

function Write-UnknownKey($Map, [string[]]$Known, [string]$Where) {
    foreach ($key in @($Map.Keys)) {
        if ($Known -cnotcontains $key) {
            Write-Note -Text ('{0}: the key {1} is not known here and does nothing' -f $Where, $key)
        }
    }
}

# What runcmd holds: a text is a line for cmd.exe, a list is a program and its arguments.
function Add-RunCommand($Wish, $Items) {
    $number = 0
    foreach ($item in @($Items)) {
        $number++
        $name = 'runcmd {0}' -f $number
        if ($item -is [string]) {
            $Wish.Commands.Add([pscustomobject]@{ Kind = 'cmd'; Name = $name; Text = $item; Words = @() })
        } elseif ($item -is [array] -and $item.Count -gt 0) {
            $Wish.Commands.Add([pscustomobject]@{ Kind = 'words'; Name = $name; Text = ''; Words = [string[]]$item })
        } else {
            Add-Failure -Text ('user-data: {0} is neither a text nor a list' -f $name)
        }
    }
}

# Keys stand in a part that is not understood: they are taken all the same, as they let the owner in.
function Restore-BrokenKey($Wish, $Broken) {
    foreach ($name in ($script:KeyNames + @('users', 'public-keys'))) {
        if ($Broken.Contains($name)) {
            foreach ($match in [regex]::Matches([string]$Broken[$name], $script:KeyPattern + '(?: [^\s"'',\]]+)?')) {
                Add-Key -Wish $Wish -Line $match.Value
            }
        }
    }
}

function Read-CloudConfig($Wish, [string]$Text) {
    $broken = @{}
    $map = Read-Yaml -Text $Text -Name 'user-data' -Broken $broken
    Write-UnknownKey -Map $map -Known (@('hostname', 'users', 'runcmd') + $script:KeyNames) -Where 'user-data'
    foreach ($line in @(Get-KeyList -Map $map -Names $script:KeyNames)) {
        Add-Key -Wish $Wish -Line $line
    }
    Restore-BrokenKey -Wish $Wish -Broken $broken
    $name = Get-Text -Map $map -Name 'hostname'
    if ($name -ne '') {
        $Wish.HostName = $name
    }
    if ($map.Contains('users')) {
        foreach ($entry in @($map['users'])) {
            Add-UserEntry -Wish $Wish -Entry $entry
        }
    }
    if ($map.Contains('runcmd')) {
        Add-RunCommand -Wish $Wish -Items $map['runcmd']
    }
}

function Read-UserData($Wish, [string]$Text) {
    $clean = $Text.TrimStart([char]0xFEFF)
    if ($clean -match '^#cloud-config\b') {
        Read-CloudConfig -Wish $Wish -Text $clean
    } elseif ($clean -match '^#ps1(_sysnative|_x86)?\b') {
        $Wish.Commands.Add([pscustomobject]@{ Kind = 'ps1'; Name = 'user-data'; Text = $clean; Words = @() })
    } elseif ($clean.Trim() -ne '') {
        Add-Failure -Text 'user-data begins with neither #cloud-config nor #ps1'
        Restore-BrokenKey -Wish $Wish -Broken @{ 'users' = $clean }
    }
}

function Read-NoCloudDisc([string]$Root) {
    $wish = New-Wish -Disc 'nocloud'
    $broken = @{}
    $metaText = Read-DiscFile -Root $Root -Name 'meta-data' -Broken $broken
    $userText = Read-DiscFile -Root $Root -Name 'user-data' -Broken $broken
    Invoke-Part -PartName 'meta-data' -PartBody {
        $meta = Read-MetaData -Text $metaText -Broken $broken
        foreach ($line in @(Get-KeyList -Map $meta -Names @('public-keys'))) {
            Add-Key -Wish $wish -Line $line
        }
        $wish.Instance = Get-Text -Map $meta -Name 'instance-id'
        $wish.HostName = Get-Text -Map $meta -Name 'local-hostname'
    } | Out-Null
    Restore-BrokenKey -Wish $wish -Broken $broken
    Invoke-Part -PartName 'user-data' -PartBody { Read-UserData -Wish $wish -Text $userText } | Out-Null
    if ($wish.Instance -eq '') {
        Add-Failure -Text 'meta-data has no instance-id'
        $wish.Instance = 'nocloud-' + (Get-Digest -Text ($metaText + "`n" + $userText)).Substring(0, 16)
    }
    return $wish
}

# --- making it so --------------------------------------------------------------------------------

# The keys of the disc, and no others: whoever had the machine before must not come in again. A disc
# from which no key could be read leaves the file as it is.
function Set-AuthorizedKey($Wish) {
    if ($Wish.Keys.Count -eq 0) {
        return
    }
    $text = ($Wish.Keys -join "`n") + "`n"
    Write-WholeFile -Path $script:KeyFile -Bytes (ConvertTo-Utf8 -Text $text)
    if ((Test-Access -Path $script:KeyFile -Entries $script:Owners) -ne '') {
        Set-Access -Path $script:KeyFile -Entries $script:Owners
    }
    $wrong = Test-Access -Path $script:KeyFile -Entries $script:Owners
    if ($wrong -ne '') {
        throw $wrong
    }
}

function Find-KeyGenerator {
    $folders = @((Join-Path -Path $env:ProgramFiles -ChildPath 'OpenSSH'), (Join-Path -Path $env:SystemRoot -ChildPath 'System32\OpenSSH'))
    foreach ($folder in $folders) {
        $path = Join-Path -Path $folder -ChildPath 'ssh-keygen.exe'
        if (Test-Path -LiteralPath $path -PathType Leaf) {
            return $path
        }
    }
    throw 'ssh-keygen.exe is not on this machine'
}

# 1062: it is stopped already; 1061: it is just starting or stopping, and takes no orders.
function Stop-Ssh {
    $deadline = [DateTime]::UtcNow.AddSeconds([Math]::Min(60, [int]$SetupTimeout))
    while ($true) {
        $ran = Invoke-Program -Name 'sc.exe' -Arguments @('stop', 'sshd') -ExitCodes @(0, 1061, 1062) -TimeoutSeconds 120
        if ($ran.ExitCode -ne 1061) {
            return
        }
        if ([DateTime]::UtcNow -ge $deadline) {
            throw 'sshd neither starts nor stops'
        }
        Start-Sleep -Milliseconds 1000
    }
}

function Test-HostKey([string]$Instance) {
    return (Get-Fact -Key $script:Record -Name 'HostKeys') -eq $Instance
}

# Host keys are made once per instance. The ones that sshd made by itself at this first start are new
# as well and stay; those of an instance before this one go.
function Set-HostKey([string]$Instance) {
    if (Test-HostKey -Instance $Instance) {
        return
    }
    $before = @(Get-ChildItem -Path $script:SshFolder -Filter 'ssh_host_*' -File -Force -ErrorAction SilentlyContinue)
    if ((Get-Fact -Key $script:Record -Name 'Instance') -ne '' -or $before.Count -eq 0) {
        Stop-Ssh
        foreach ($file in $before) {
            Remove-Item -LiteralPath $file.FullName -Force
        }
        Invoke-Program -Name (Find-KeyGenerator) -Arguments @('-A') -TimeoutSeconds 120 | Out-Null
    }
    Set-RegistryValue -Key $script:Record -Name 'HostKeys' -Type 'String' -Data $Instance
}

# 1056: it runs already.
function Start-Ssh {
    Invoke-Program -Name 'sc.exe' -Arguments @('config', 'sshd', 'start=', 'auto') -TimeoutSeconds 120 | Out-Null
    Invoke-Program -Name 'sc.exe' -Arguments @('start', 'sshd') -ExitCodes @(0, 1056) -TimeoutSeconds 120 | Out-Null
}

function Add-Account([string]$Name) {
    if ($null -eq (Get-LocalUser -Name $Name -ErrorAction SilentlyContinue)) {
        New-LocalUser -Name $Name -Password (New-RandomPassword) -PasswordNeverExpires | Out-Null
        Add-LocalGroupMember -SID $script:Administrators -Member $Name
    }
}

# Less than a mebibyte more is what alignment leaves, and Resize-Partition refuses it.
function Expand-SystemDrive {
    $letter = ([string]$env:SystemDrive).TrimEnd(':')
    $size = [long](Get-Partition -DriveLetter $letter).Size
    $most = [long](Get-PartitionSupportedSize -DriveLetter $letter).SizeMax
    if ($most - $size -gt 1MB) {
        Write-Note -Text ('{0}: grows from {1} to {2} bytes' -f $letter, $size, $most)
        Resize-Partition -DriveLetter $letter -Size $most
    }
}

# Windows allows 15 characters; a domain behind the name does not belong to it.
function Get-ValidHostName([string]$Name) {
    $short = (($Name -split '\.')[0] -replace '[^A-Za-z0-9-]', '-').Trim('-')
    $short = $short.Substring(0, [Math]::Min(15, $short.Length)).TrimEnd('-')
    if ($short -eq '' -or $short -match '^[0-9]+$') {
        throw "'$Name' cannot be a host name"
    }
    return $short
}

# Without a wish the random name that specialize gave stays; the build's own name must not.
function Get-WantedHostName($Wish) {
    if ($Wish.HostName -ne '') {
        return (Get-ValidHostName -Name $Wish.HostName)
    }
    if ($env:COMPUTERNAME -eq (Get-Fact -Key $script:Facts -Name 'BuildHostName')) {
        return ('WIN-' + [Guid]::NewGuid().ToString('N').Substring(0, 8).ToUpperInvariant())
    }
    return $env:COMPUTERNAME
}

# Says whether a restart is needed. A name that a restart did not bring is an error, not a loop.
function Set-HostName($Wish) {
    $wanted = Get-WantedHostName -Wish $Wish
    if ($wanted -eq $env:COMPUTERNAME) {
        return $false
    }
    if ((Get-Fact -Key $script:Record -Name 'RenamedFor') -eq $Wish.Instance) {
        throw "after a restart the host name is $env:COMPUTERNAME, not $wanted"
    }
    Rename-Computer -NewName $wanted -Force
    Set-RegistryValue -Key $script:Record -Name 'RenamedFor' -Type 'String' -Data $Wish.Instance
    return $true
}

# cmd.exe reads a batch file in the OEM code page, line by line: from the line that says so, in UTF-8.
function ConvertTo-Batch([string]$Text) {
    $head = "@echo off`r`n"
    if ($Text -match '[^\x00-\x7f]') {
        $head += "chcp 65001 > nul`r`n"
    }
    return $head + ($Text -replace '\r?\n', "`r`n") + "`r`n"
}

function Invoke-Wish($Command) {
    $folder = Join-Path -Path $script:Golden -ChildPath 'run'
    if ($Command.Kind -eq 'words') {
        Invoke-Program -Name $Command.Words[0] -Arguments @($Command.Words | Select-Object -Skip 1) -TimeoutSeconds ([int]$ProgramTimeout) | Out-Null
        return
    }
    $file = Join-Path -Path $folder -ChildPath (($Command.Name -replace '[^A-Za-z0-9.-]', '-') + '.' + $Command.Kind)
    try {
        if ($Command.Kind -eq 'cmd') {
            Write-WholeFile -Path $file -Bytes (ConvertTo-Utf8 -Text (ConvertTo-Batch -Text $Command.Text))
            Invoke-Program -Name 'cmd.exe' -Arguments @('/d', '/c', (Convert-Path -LiteralPath $file)) -TimeoutSeconds ([int]$ProgramTimeout) | Out-Null
        } else {
            # Windows PowerShell reads a script without a byte order mark in the old code page.
            Write-WholeFile -Path $file -Bytes (ConvertTo-Utf8 -Text ([char]0xFEFF + $Command.Text.TrimStart([char]0xFEFF)))
            Invoke-Program -Name 'powershell.exe' -Arguments @('-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', (Convert-Path -LiteralPath $file)) -TimeoutSeconds ([int]$ProgramTimeout) | Out-Null
        }
    } finally {
        if (Test-Path -LiteralPath $file) {
            Remove-Item -LiteralPath $file -Force
        }
    }
}

# What sealing left to be undone: the page file's clearing makes every shutdown slow.
function Clear-SealTrace {
    Set-RegistryValue -Key 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management' -Name 'ClearPageFileAtShutdown' -Type 'DWord' -Data 0
    $task = 'Golden Windows Seal'
    if ($null -ne (Get-ScheduledTask -TaskName $task -ErrorAction SilentlyContinue)) {
        Unregister-ScheduledTask -TaskName $task -Confirm:$false
    }
}

function Get-LoginName($Wish) {
    $names = New-Object -TypeName 'System.Collections.Generic.List[string]'
    $own = Get-Fact -Key $script:Facts -Name 'User'
    if ($Wish.Keys.Count -gt 0 -and $own -ne '') {
        $names.Add($own)
    }
    foreach ($name in $Wish.Users) {
        if (-not $names.Contains($name)) {
            $names.Add($name)
        }
    }
    return , $names.ToArray()
}

function Write-Result($Wish) {
    $result = [ordered]@{
        disc      = $Wish.Disc
        instance  = $Wish.Instance
        host_name = [string]$env:COMPUTERNAME
        users     = (Get-LoginName -Wish $Wish)
        errors    = $script:Errors.ToArray()
    }
    $json = ConvertTo-Json -InputObject $result -Depth 5
    Write-WholeFile -Path (Join-Path -Path $script:Golden -ChildPath 'first-boot.json') -Bytes (ConvertTo-Utf8 -Text ($json + "`n"))
}

function Write-LimaDone {
    $stamp = [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ') + "`n"
    Write-WholeFile -Path (Join-Path -Path $env:ProgramData -ChildPath 'Lima\lima-boot-done.txt') -Bytes (ConvertTo-Utf8 -Text $stamp)
}

function Invoke-HostKey([string]$Instance) {
    Invoke-Part -PartName 'host keys' -PartBody { Set-HostKey -Instance $Instance } | Out-Null
    Invoke-Part -PartName 'sshd' -PartBody { Start-Ssh } | Out-Null
}

# The keys come first: whatever fails afterwards, the owner can come in and look. Says whether a
# restart is needed before the rest.
function Invoke-Machine($Wish) {
    $let = Invoke-Part -PartName 'authorized keys' -PartBody { Set-AuthorizedKey -Wish $Wish }
    Invoke-HostKey -Instance $Wish.Instance
    foreach ($name in $Wish.Users) {
        Invoke-Part -PartName "account $name" -PartBody { Add-Account -Name $name } | Out-Null
    }
    Invoke-Part -PartName 'disk' -PartBody { Expand-SystemDrive } | Out-Null
    Invoke-Part -PartName 'sealing' -PartBody { Clear-SealTrace } | Out-Null
    $script:Restart = $false
    Invoke-Part -PartName 'host name' -PartBody { $script:Restart = Set-HostName -Wish $Wish } | Out-Null
    return $let
}

function Send-Ready {
    if ($script:Errors.Count -gt 0) {
        Send-Beacon -Text ('firstboot failed ' + $script:Errors[0])
    }
    Send-Beacon -Text 'firstboot ready'
}

function Invoke-Rest($Wish, [bool]$Complete) {
    foreach ($command in $Wish.Commands) {
        Invoke-Part -PartName $command.Name -PartBody { Invoke-Wish -Command $command } | Out-Null
    }
    if ($Wish.Disc -eq 'lima') {
        Invoke-Part -PartName 'lima-boot-done.txt' -PartBody { Write-LimaDone } | Out-Null
    }
    Write-Result -Wish $Wish
    Set-RegistryValue -Key $script:Record -Name 'Instance' -Type 'String' -Data $Wish.Instance
    Set-RegistryValue -Key $script:Record -Name 'Complete' -Type 'DWord' -Data ([int]$Complete)
    Send-Ready
}

function Read-Wish($Disc) {
    if ($null -eq $Disc) {
        $wish = New-Wish -Disc 'none'
        $wish.Instance = 'none'
        return $wish
    }
    if ($Disc.Kind -eq 'lima') {
        return (Read-LimaDisc -Root $Disc.Root)
    }
    return (Read-NoCloudDisc -Root $Disc.Root)
}

# An instance that is complete needs nothing more; neither does a machine whose disc was taken out.
function Test-Complete($Wish) {
    if ((Get-Fact -Key $script:Record -Name 'Complete') -ne '1') {
        return $false
    }
    return ($Wish.Disc -eq 'none' -or (Get-Fact -Key $script:Record -Name 'Instance') -eq $Wish.Instance)
}

function Invoke-FirstBoot {
    Send-Beacon -Text 'firstboot started'
    $wish = Read-Wish -Disc (Wait-Disc)
    Send-Beacon -Text ('firstboot disc ' + $wish.Disc)
    if (Test-Complete -Wish $wish) {
        # The disc may have been taken out since.
        $instance = Get-Fact -Key $script:Record -Name 'Instance'
        Write-Note -Text ('the instance {0} is complete' -f $instance)
        if (-not (Test-HostKey -Instance $instance)) {
            Invoke-HostKey -Instance $instance # they could not be made at the start before
        }
        Invoke-Part -PartName 'disk' -PartBody { Expand-SystemDrive } | Out-Null
        Send-Ready
        return
    }
    $complete = Invoke-Machine -Wish $wish
    if ($script:Restart) {
        Write-Note -Text 'restarts for the host name'
        Invoke-Program -Name 'shutdown.exe' -Arguments @('/r', '/t', '0', '/f') -TimeoutSeconds 60 | Out-Null
        return
    }
    Invoke-Rest -Wish $wish -Complete $complete
}

# Setup is still at work when this task starts on a sealed image's first start: a restart or a rename
# in the middle of it would break it.
function Wait-Setup {
    $deadline = [DateTime]::UtcNow.AddSeconds([int]$SetupTimeout)
    while ((Get-Fact -Key 'HKLM:\SYSTEM\Setup' -Name 'SystemSetupInProgress') -eq '1' -or (Get-Fact -Key 'HKLM:\SYSTEM\Setup' -Name 'OOBEInProgress') -eq '1') {
        if ([DateTime]::UtcNow -ge $deadline) {
            Add-Failure -Text "Setup has not ended within $SetupTimeout s"
            return
        }
        Start-Sleep -Milliseconds 1000
    }
}

# SetupComplete.cmd's part: the task as sealing made it, should generalising have lost it; started.
function Register-FirstBoot {
    $options = @{
        TaskName  = $script:TaskName
        Action    = (New-ScheduledTaskAction -Execute (Find-Program -Name 'powershell.exe') -Argument ('-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "{0}"' -f $PSCommandPath))
        Principal = (New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest)
        Settings  = (New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::Zero))
        Trigger   = (New-ScheduledTaskTrigger -AtStartup)
        Force     = $true
    }
    Register-ScheduledTask @options | Out-Null
    Start-ScheduledTask -TaskName $script:TaskName
}

# On an image whose first boot is cloudbase-init's: it has written the keys of each user where sshd looks
# for those of users who are no administrators. All of them are, so their keys go where sshd looks.
function Copy-CloudbaseKey {
    $wish = New-Wish -Disc 'cloudbase-init'
    $users = Join-Path -Path $env:SystemDrive -ChildPath '\Users'
    foreach ($user in @(Get-ChildItem -LiteralPath $users -Directory -Force)) {
        $file = Join-Path -Path $user.FullName -ChildPath '.ssh\authorized_keys'
        if (Test-Path -LiteralPath $file -PathType Leaf) {
            foreach ($line in @(Get-Content -LiteralPath $file)) {
                Add-Key -Wish $wish -Line ([string]$line)
            }
        }
    }
    Invoke-Part -PartName 'authorized keys' -PartBody { Set-AuthorizedKey -Wish $wish } | Out-Null
    Invoke-Part -PartName 'sshd' -PartBody { Start-Ssh } | Out-Null
    Invoke-Part -PartName 'sealing' -PartBody { Clear-SealTrace } | Out-Null
    Send-Ready
}

# One at a time: SetupComplete.cmd and the start of Windows may both start this task.
function Invoke-Main {
    if ($Register) {
        Register-FirstBoot
        return
    }
    if ((Get-Fact -Key $script:Facts -Name 'Sealed') -ne '1') {
        Write-Note -Text 'this machine is not sealed: nothing to do'
        return
    }
    if ($CloudbaseKeys) {
        Copy-CloudbaseKey
        return
    }
    $mutex = New-Object -TypeName System.Threading.Mutex -ArgumentList $false, 'Global\GoldenWindowsFirstBoot'
    if (-not $mutex.WaitOne(0)) {
        Write-Note -Text 'first boot is at work already'
        return
    }
    try {
        Wait-Setup
        Invoke-FirstBoot
    } finally {
        $mutex.ReleaseMutex()
    }
}

$transcript = Open-Transcript -Path (Join-Path -Path $script:Golden -ChildPath 'log\firstboot.log')
$code = 0
try {
    Invoke-Main
} catch {
    Write-Note -Text $_.ScriptStackTrace
    Send-Beacon -Text ('firstboot failed ' + $_.Exception.Message)
    $code = 1
}
if ($transcript) {
    Stop-Transcript | Out-Null
}
exit $code
