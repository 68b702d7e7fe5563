# Runs the real agent in a PowerShell of its own and looks at what it did: no doubles.
#
# Goes in: -Parts, which kinds of steps to try (all of them need a real Windows and an elevated shell).
# Comes out: one line per assertion, exit code 0 or 1. Everything lies in a folder of its own, a key of
# its own below HKLM:\SOFTWARE and a service of its own; all of it is removed at the end.

param(
    [string]$Parts = 'parse,file,registry,acl,service,script,refusals,everything,secret',
    [string]$Folder = '',
    [string]$Guest = ''
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$script:Wanted = @($Parts -split ',')
$script:Failures = 0
$script:Key = 'HKLM:\SOFTWARE\GoldenWindowsTest'
$script:Markers = 'HKLM:\SOFTWARE\GoldenWindows\Steps'
$script:Service = 'GoldenWindowsTest'
$script:Entries = @(
    @{ identity = 'S-1-5-18'; rights = 'FullControl' },
    @{ identity = 'S-1-5-32-544'; rights = 'FullControl' }
)

if ($Guest -eq '') {
    $Guest = Join-Path -Path $PSScriptRoot -ChildPath '..\..\..\templates\guest'
}
if ($Folder -eq '') {
    # A blank in the path: what is not quoted shows.
    $Folder = Join-Path -Path $env:TEMP -ChildPath ('golden windows {0}' -f [guid]::NewGuid().ToString('N'))
}
$script:Agent = Convert-Path -LiteralPath (Join-Path -Path $Guest -ChildPath 'agent.ps1')

# --- saying --------------------------------------------------------------------------------------

function Write-Line([string]$Text) {
    [Console]::Out.WriteLine($Text)
}

function Assert-Equal([string]$What, $Found, $Expected) {
    $left = @($Found) -join ' '
    $right = @($Expected) -join ' '
    if ($left -ceq $right) {
        Write-Line -Text "ok      $What"
    } else {
        $script:Failures++
        Write-Line -Text "FAILED  ${What}: [$left], not [$right]"
    }
}

function Assert-Match([string]$What, [string]$Found, [string]$Pattern) {
    Assert-Equal -What "$What ($Found)" -Found ($Found -match $Pattern) -Expected $true
}

# Runs a few lines in a PowerShell of its own and gives what they say: a second pair of eyes, which
# has nothing in memory that the agent has changed since.
function Invoke-Apart([string]$Text) {
    $path = Join-Path -Path $Folder -ChildPath 'apart.ps1'
    Set-Content -LiteralPath $path -Value ("`$ErrorActionPreference = 'Stop'`n" + $Text) -Encoding Ascii
    $said = @(& 'powershell.exe' -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $path)
    if ($LASTEXITCODE -ne 0) {
        throw "exit code ${LASTEXITCODE}: $($said -join ' / ')"
    }
    return $said
}

# --- plans and runs ------------------------------------------------------------------------------

# A file in the payload folder, as it stands in a plan.
function Write-Payload([string]$Name, [string]$Text) {
    $path = Join-Path -Path $Folder -ChildPath ('payload\' + $Name)
    Set-Content -LiteralPath $path -Value $Text -Encoding Ascii
    return @{ file = $Name; sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash.ToLowerInvariant() }
}

function Write-Plan([string]$Name, [object[]]$Steps) {
    $path = Join-Path -Path $Folder -ChildPath ($Name + '.json')
    $plan = [ordered]@{ schema = 1; name = $Name; steps = $Steps }
    Set-Content -LiteralPath $path -Value (ConvertTo-Json -InputObject $plan -Depth 8) -Encoding Ascii
    return $path
}

# One run of the agent, in a process of its own: its exit code, step lines and closing line.
function Invoke-Agent([string]$Mode, [string]$Plan) {
    $log = Join-Path -Path $Folder -ChildPath 'agent.log'
    $lines = @(& 'powershell.exe' -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $script:Agent -Mode $Mode -Plan $Plan -Log $log -BusyTimeout 10)
    $code = $LASTEXITCODE
    $json = @($lines | Where-Object -FilterScript { [string]$_ -like '{*' })
    foreach ($line in $json) {
        if ($line -cmatch '[^\x20-\x7e]') {
            Assert-Equal -What 'a JSON line is ASCII' -Found $line -Expected 'ASCII'
        }
    }
    $records = @($json | ForEach-Object -Process { ConvertFrom-Json -InputObject $_ })
    $steps = @($records | Where-Object -FilterScript { $null -ne $_.PSObject.Properties['step'] })
    $plans = @($records | Where-Object -FilterScript { $null -ne $_.PSObject.Properties['plan'] })
    if ($plans.Count -ne 1) {
        Write-Line -Text ($lines -join "`n")
        throw "$Mode ${Plan}: $($plans.Count) closing lines, not one"
    }
    return [pscustomobject]@{ Code = $code; Steps = $steps; Plan = $plans[0] }
}

function Assert-Run([string]$What, $Run, [int]$Code, [string]$Result, [string]$State) {
    Assert-Equal -What "${What}: exit code" -Found $Run.Code -Expected $Code
    Assert-Equal -What "${What}: result" -Found $Run.Plan.result -Expected $Result
    foreach ($step in $Run.Steps) {
        Assert-Equal -What ("${What}: {0} {1}" -f $step.step, $step.message) -Found $step.state -Expected $State
    }
}

# Test says no, Apply sets, Test says yes, Apply again changes nothing.
function Assert-Lifecycle([string]$Name, [object[]]$Steps) {
    $plan = Write-Plan -Name $Name -Steps $Steps
    $fresh = Invoke-Agent -Mode 'Test' -Plan $plan
    Assert-Equal -What "${Name}: lines" -Found $fresh.Steps.Count -Expected $Steps.Count
    Assert-Run -What "$Name, fresh" -Run $fresh -Code 3 -Result 'wrong' -State 'wrong'
    Assert-Run -What "$Name, applied" -Run (Invoke-Agent -Mode 'Apply' -Plan $plan) -Code 0 -Result 'done' -State 'changed'
    Assert-Run -What "$Name, tested" -Run (Invoke-Agent -Mode 'Test' -Plan $plan) -Code 0 -Result 'done' -State 'ok'
    Assert-Run -What "$Name, again" -Run (Invoke-Agent -Mode 'Apply' -Plan $plan) -Code 0 -Result 'done' -State 'ok'
    return $plan
}

# --- parts ---------------------------------------------------------------------------------------

# The parser of the PowerShell that runs this, over every guest script.
function Test-Parse {
    foreach ($file in @(Get-ChildItem -LiteralPath $Guest -Filter '*.ps1')) {
        $tokens = $null
        $errors = $null
        $native = Convert-Path -LiteralPath $file.FullName
        [void][System.Management.Automation.Language.Parser]::ParseFile($native, [ref]$tokens, [ref]$errors)
        Assert-Equal -What ('parse: ' + $file.Name) -Found @($errors | ForEach-Object -Process { $_.Message }) -Expected @()
    }
}

function Test-File {
    $from = Write-Payload -Name 'data.txt' -Text 'data'
    $text = "ssh-ed25519 AAAA`n"
    $there = Join-Path -Path $Folder -ChildPath 'deep\er\keys'
    $copy = Join-Path -Path $Folder -ChildPath 'copy of data.txt'
    $gone = Join-Path -Path $Folder -ChildPath 'gone.txt'
    Set-Content -LiteralPath $gone -Value 'x'
    $plan = Assert-Lifecycle -Name 'real-file' -Steps @(
        @{ id = 'content'; kind = 'file'; path = $there; content = $text },
        @{ id = 'copy'; kind = 'file'; path = $copy; payloads = @($from) },
        @{ id = 'gone'; kind = 'file'; path = $gone; ensure = 'absent' }
    )
    $bytes = [System.IO.File]::ReadAllBytes((Convert-Path -LiteralPath $there))
    Assert-Equal -What 'file: no byte order mark, no other line ends' -Found $bytes -Expected ([System.Text.Encoding]::ASCII.GetBytes($text))
    Assert-Equal -What 'file: the payload' -Found (Get-FileHash -LiteralPath $copy).Hash.ToLowerInvariant() -Expected $from.sha256
    Assert-Equal -What 'file: absent' -Found (Test-Path -LiteralPath $gone) -Expected $false
    Set-Content -LiteralPath $copy -Value 'changed behind its back'
    $run = Invoke-Agent -Mode 'Apply' -Plan $plan
    Assert-Equal -What 'file: mended' -Found @($run.Steps | ForEach-Object -Process { $_.state }) -Expected @('ok', 'changed', 'ok')
}

function Test-Registry {
    $key = $script:Key + '\Deep'
    [void](Invoke-Apart -Text @"
New-Item -Path '$key' -Force | Out-Null
New-ItemProperty -LiteralPath '$key' -Name 'sibling' -Value 'stays' | Out-Null
New-ItemProperty -LiteralPath '$key' -Name 'old' -Value '1' | Out-Null
"@)
    [void](Assert-Lifecycle -Name 'real-registry' -Steps @(
            @{ id = 'string'; kind = 'registry'; key = $key; name = 's'; value = 'A b' },
            @{ id = 'expand'; kind = 'registry'; key = $key; name = 'e'; type = 'ExpandString'; value = '%SystemRoot%\x' },
            @{ id = 'dword'; kind = 'registry'; key = $key; name = 'd'; type = 'DWord'; value = 4294967295 },
            @{ id = 'qword'; kind = 'registry'; key = $key; name = 'q'; type = 'QWord'; value = 8589934591 },
            @{ id = 'multi'; kind = 'registry'; key = $key; name = 'm'; type = 'MultiString'; value = @('a', 'b c') },
            @{ id = 'one'; kind = 'registry'; key = $key; name = 'o'; type = 'MultiString'; value = @('only') },
            @{ id = 'old'; kind = 'registry'; key = $key; name = 'old'; ensure = 'absent' }
        ))
    $said = Invoke-Apart -Text @"
`$item = Get-Item -LiteralPath '$key'
foreach (`$name in @(`$item.GetValueNames() | Sort-Object)) {
    `$data = `$item.GetValue(`$name, `$null, 'DoNotExpandEnvironmentNames')
    '{0} {1} {2}' -f `$name, `$item.GetValueKind(`$name), (@(`$data) -join '|')
}
"@
    Assert-Equal -What 'registry: as others see it' -Found ($said -join '; ') -Expected (@(
            'd DWord -1',
            'e ExpandString %SystemRoot%\x',
            'm MultiString a|b c',
            'o MultiString only',
            'q QWord 8589934591',
            's String A b',
            'sibling String stays'
        ) -join '; ')
}

# What Windows itself says of the access lists, in its own short form.
function Test-Acl {
    $file = Join-Path -Path $Folder -ChildPath 'locked.txt'
    $directory = Join-Path -Path $Folder -ChildPath 'locked folder'
    Set-Content -LiteralPath $file -Value 'x'
    New-Item -Path $directory -ItemType Directory | Out-Null
    [void](Assert-Lifecycle -Name 'real-acl' -Steps @(
            @{ id = 'file'; kind = 'acl'; path = $file; entries = $script:Entries },
            @{ id = 'folder'; kind = 'acl'; path = $directory; entries = $script:Entries }
        ))
    Assert-Match -What 'acl: file' -Found (Get-Acl -LiteralPath $file).Sddl -Pattern 'D:PA?I?(\(A;;FA;;;(SY|BA)\)){2}$'
    Assert-Match -What 'acl: folder' -Found (Get-Acl -LiteralPath $directory).Sddl -Pattern 'D:PA?I?(\(A;OICI;FA;;;(SY|BA)\)){2}$'
}

function Test-Service {
    $binary = Join-Path -Path $Folder -ChildPath 'no such program.exe'
    $step = @{ id = 'service'; kind = 'service'; name = $script:Service; binary = $binary; display_name = 'Golden Windows, a test'; depend = @('RpcSs'); start = 'demand'; state = 'stopped' }
    [void](Assert-Lifecycle -Name 'real-service' -Steps @($step))
    $found = Get-CimInstance -ClassName Win32_Service -Filter ("Name='{0}'" -f $script:Service)
    Assert-Equal -What 'service: quoted' -Found $found.PathName -Expected ('"' + $binary + '"')
    Assert-Equal -What 'service: start' -Found $found.StartMode -Expected 'Manual'
    $depends = @((Get-Service -Name $script:Service).ServicesDependedOn | ForEach-Object -Process { $_.Name })
    Assert-Equal -What 'service: depends' -Found $depends -Expected @('RpcSs')
    $step.start = 'disabled'
    $step.depend = @('RpcSs', 'EventLog')
    [void](Assert-Lifecycle -Name 'real-service-changed' -Steps @($step))
    $step.start = 'demand'
    $step.state = 'running'
    $run = Invoke-Agent -Mode 'Apply' -Plan (Write-Plan -Name 'real-service-broken' -Steps @($step))
    Assert-Run -What 'service: a program that is not there' -Run $run -Code 1 -Result 'failed' -State 'failed'
}

function Test-Script {
    $trace = Join-Path -Path $Folder -ChildPath 'trace.txt'
    $main = Write-Payload -Name 'trace.ps1' -Text 'param($Path, $Text) Add-Content -LiteralPath $Path -Value $Text'
    [void](Assert-Lifecycle -Name 'real-script' -Steps @(
            @{ id = 'trace'; kind = 'script'; payloads = @($main); arguments = @($trace, 'a "b" c\') }
        ))
    Assert-Equal -What 'script: ran once, with its arguments' -Found @(Get-Content -LiteralPath $trace) -Expected @('a "b" c\')
    $marker = Invoke-Apart -Text "(Get-Item -LiteralPath '$script:Markers').GetValue('real-script/trace')"
    Assert-Equal -What 'script: the marker' -Found $marker -Expected $main.sha256
    $bad = Write-Payload -Name 'bad.ps1' -Text "'the last words'; exit 7"
    $run = Invoke-Agent -Mode 'Apply' -Plan (Write-Plan -Name 'real-script-bad' -Steps @(@{ id = 'bad'; kind = 'script'; payloads = @($bad) }))
    Assert-Run -What 'script: exit code 7' -Run $run -Code 1 -Result 'failed' -State 'failed'
    Assert-Match -What 'script: says why' -Found $run.Plan.message -Pattern 'exit code 7.*the last words'
}

function Test-Refusal {
    $path = Join-Path -Path $Folder -ChildPath 'never.txt'
    $payload = Write-Payload -Name 'never.txt' -Text 'never'
    $payload.sha256 = '0' * 64
    $steps = @(
        @{ id = 'wrong-digest'; kind = 'file'; path = $path; payloads = @($payload) },
        @{ id = 'after'; kind = 'file'; path = $path; content = 'after a failure' }
    )
    $run = Invoke-Agent -Mode 'Apply' -Plan (Write-Plan -Name 'real-refusal' -Steps $steps)
    Assert-Run -What 'a wrong digest' -Run $run -Code 1 -Result 'failed' -State 'failed'
    Assert-Equal -What 'a wrong digest: nothing after it' -Found $run.Steps.Count -Expected 1
    $unknown = Write-Plan -Name 'real-unknown' -Steps @(@{ id = 'x'; kind = 'magic' })
    Assert-Equal -What 'an unknown kind' -Found (Invoke-Agent -Mode 'Apply' -Plan $unknown).Code -Expected 2
    $typing = Write-Plan -Name 'real-typing' -Steps @(@{ id = 'x'; kind = 'file'; path = $path; contents = 'x' })
    Assert-Equal -What 'an unknown key' -Found (Invoke-Agent -Mode 'Apply' -Plan $typing).Code -Expected 2
    Assert-Equal -What 'refusals: nothing was written' -Found (Test-Path -LiteralPath $path) -Expected $false
}

# Every kind in Test mode, which changes nothing: all of it is missing here.
function Test-Everything {
    $package = Join-Path -Path $Folder -ChildPath 'payload\small.msi'
    Copy-Item -LiteralPath (Join-Path -Path $PSScriptRoot -ChildPath '..\..\unit\rehearsal\small.msi') -Destination $package
    $msi = @{ file = 'small.msi'; sha256 = (Get-FileHash -LiteralPath $package).Hash }
    $steps = @(
        @{ id = 'msi'; kind = 'msi'; payloads = @($msi) },
        @{ id = 'file'; kind = 'file'; path = (Join-Path -Path $Folder -ChildPath 'absent'); content = 'x' },
        @{ id = 'registry'; kind = 'registry'; key = ($script:Key + '\Absent'); name = 'x'; value = 'x' },
        @{ id = 'service'; kind = 'service'; name = 'GoldenWindowsAbsent' },
        @{ id = 'acl'; kind = 'acl'; path = $Folder; entries = $script:Entries },
        @{ id = 'driver'; kind = 'driver'; name = 'absent'; payloads = @(Write-Payload -Name 'absent.inf' -Text '[Version]') },
        @{ id = 'firewall'; kind = 'firewall'; name = 'GoldenWindowsAbsent'; display_name = 'x'; port = 22 },
        @{ id = 'user'; kind = 'user'; name = 'goldenabsent'; groups = @('S-1-5-32-544') },
        @{ id = 'script'; kind = 'script'; payloads = @(Write-Payload -Name 'absent.ps1' -Text 'exit 0') },
        @{ id = 'update'; kind = 'update'; kb = 'KB0000001'; payloads = @(Write-Payload -Name 'absent.msu' -Text 'x') },
        @{ id = 'reboot'; kind = 'reboot'; when = 'always' }
    )
    $run = Invoke-Agent -Mode 'Test' -Plan (Write-Plan -Name 'real-everything' -Steps $steps)
    Assert-Equal -What 'everything: lines' -Found $run.Steps.Count -Expected $steps.Count
    Assert-Run -What 'everything' -Run $run -Code 3 -Result 'wrong' -State 'wrong'
    Assert-Match -What 'everything: the package was read' -Found $run.Steps[0].message -Pattern '^version [0-9.]+ of the package is not installed$'
    Assert-Equal -What 'everything: no account' -Found @(Get-LocalUser | Where-Object -FilterScript { $_.Name -eq 'goldenabsent' }).Count -Expected 0
}

# The task as SYSTEM that a build uses. Only on a machine of CI: who logs on automatically elsewhere would
# do so no more. And an administrator, who cannot see the secrets, must not take them for gone.
function Test-Secret {
    if ($env:CI -ne 'true') {
        Write-Line -Text 'passed over: secret, as this is no machine of CI'
        return
    }
    $path = Join-Path -Path (Split-Path -Path $script:Agent -Parent) -ChildPath 'logon-secret.ps1'
    $said = @(& 'powershell.exe' -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $path)
    Assert-Equal -What "secret: exit code ($($said -join ' / '))" -Found $LASTEXITCODE -Expected 0
    $said = @(& 'powershell.exe' -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $path -AsSystem)
    Assert-Equal -What "secret: no administrator says so ($($said -join ' / '))" -Found $LASTEXITCODE -Expected 1
    $left = @(Get-ScheduledTask | Where-Object -FilterScript { $_.TaskName -eq 'Golden Windows Logon Secret' })
    Assert-Equal -What 'secret: no task is left' -Found $left.Count -Expected 0
}

# --- tidying -------------------------------------------------------------------------------------

# Leaves the machine as it was: also the markers that scripts leave.
function Clear-Machine([bool]$HadKey) {
    if ($script:Wanted -contains 'service' -and $null -ne (Get-Service -Name $script:Service -ErrorAction SilentlyContinue)) {
        & 'sc.exe' delete $script:Service | Out-Null
    }
    $keys = @($script:Key)
    if (-not $HadKey) {
        $keys += 'HKLM:\SOFTWARE\GoldenWindows'
    }
    foreach ($key in $keys) {
        [void](Invoke-Apart -Text "if (Test-Path -LiteralPath '$key') { Remove-Item -LiteralPath '$key' -Recurse -Force }")
    }
    Remove-Item -LiteralPath $Folder -Recurse -Force
}

$table = [ordered]@{
    parse      = { Test-Parse }
    file       = { Test-File }
    registry   = { Test-Registry }
    acl        = { Test-Acl }
    service    = { Test-Service }
    script     = { Test-Script }
    refusals   = { Test-Refusal }
    everything = { Test-Everything }
    secret     = { Test-Secret }
}
$unknown = @($script:Wanted | Where-Object -FilterScript { @($table.Keys) -notcontains $_ })
if ($unknown.Count -gt 0) {
    throw "there is no part $($unknown -join ', ')"
}
Write-Line -Text ('PowerShell {0} {1}' -f $PSVersionTable.PSVersion, $PSVersionTable.PSEdition)
$hadKey = Test-Path -LiteralPath 'HKLM:\SOFTWARE\GoldenWindows'
New-Item -Path (Join-Path -Path $Folder -ChildPath 'payload') -ItemType Directory -Force | Out-Null
try {
    foreach ($part in $script:Wanted) {
        & $table[$part]
    }
} finally {
    Clear-Machine -HadKey $hadKey
}
Write-Line -Text ('{0} failed' -f $script:Failures)
if ($script:Failures -gt 0) {
    exit 1
}
exit 0
