# The fake machine's state, and what every double needs: reading, writing and refusing.
#
# The state is one JSON file in $env:GOLDEN_MACHINE; programs (programs/) and doubles share it.

$global:Double = @{}

function global:Read-FakeState {
    $text = [System.IO.File]::ReadAllText((Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'state.json'))
    return (ConvertFrom-Json -InputObject $text)
}

function global:Save-FakeState($State) {
    $json = ConvertTo-Json -InputObject $State -Depth 20 -Compress
    [System.IO.File]::WriteAllText((Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'state.json'), $json)
}

function global:Add-FakeLine([string]$File, [string]$Text) {
    [System.IO.File]::AppendAllText((Join-Path -Path $env:GOLDEN_MACHINE -ChildPath $File), $Text)
}

# The entry of a table (a JSON object) by its name, whatever its case; or nothing.
function global:Get-FakeEntry($Table, [string]$Name) {
    $property = $Table.PSObject.Properties[$Name]
    if ($null -eq $property) { return $null }
    return , $property.Value  # a list of one, or of none, stays a list
}

function global:Set-FakeEntry($Table, [string]$Name, $Value) {
    $Table | Add-Member -MemberType NoteProperty -Name $Name -Value $Value -Force
}

# An error as the real command raises it: non-terminating, with its id and category.
function global:Write-FakeError([string]$Message, [string]$Id, [string]$Category, $Target) {
    $exception = Microsoft.PowerShell.Utility\New-Object -TypeName System.InvalidOperationException -ArgumentList $Message
    $record = Microsoft.PowerShell.Utility\New-Object -TypeName System.Management.Automation.ErrorRecord -ArgumentList $exception, $Id, $Category, $Target
    return $record
}

# Called first by every double: the call is kept, and refused when the test says so; of a list of
# refusals, each call takes one, and an empty one lets it through.
function global:Enter-Double([string]$Command, $Bound) {
    $names = @($Bound.Keys | Sort-Object) -join ','
    Add-FakeLine -File 'commands.txt' -Text ("$Command $names`n")
    $state = Read-FakeState
    $denied = Get-FakeEntry -Table $state.deny -Name $Command
    if ($denied -is [System.Array]) {
        Set-FakeEntry -Table $state.deny -Name $Command -Value @($denied | Select-Object -Skip 1)
        Save-FakeState -State $state
        $denied = $denied | Select-Object -First 1
    }
    if ($denied) {
        $exception = Microsoft.PowerShell.Utility\New-Object -TypeName System.UnauthorizedAccessException -ArgumentList ([string]$denied)
        throw (Microsoft.PowerShell.Utility\New-Object -TypeName System.Management.Automation.ErrorRecord -ArgumentList $exception, 'PermissionDenied', 'PermissionDenied', $Command)
    }
    return $state
}

# What programs changed in the registry while this PowerShell ran: applied before anything is read.
function global:Update-FakeRegistry {
    $file = Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'effects.jsonl'
    if (-not [System.IO.File]::Exists($file)) { return }
    $lines = [System.IO.File]::ReadAllLines($file)
    [System.IO.File]::Delete($file)
    foreach ($line in $lines) {
        $effect = ConvertFrom-Json -InputObject $line
        Set-FakeEffect -Effect $effect
    }
}

function global:Set-FakeEffect($Effect) {
    if ($global:FakeRegistryIsOurs) {
        Set-FakeValue -Key (Get-FakeKey -Path $Effect.key) -Name $Effect.name -Kind $Effect.type -Data $Effect.value
        return
    }
    if (-not (Microsoft.PowerShell.Management\Test-Path -LiteralPath $Effect.key)) {
        Microsoft.PowerShell.Management\New-Item -Path $Effect.key -Force | Out-Null
    }
    Microsoft.PowerShell.Management\New-ItemProperty -LiteralPath $Effect.key -Name $Effect.name -PropertyType $Effect.type -Value $Effect.value -Force | Out-Null
}

# The error a double returns is raised in the double's own name, so that -ErrorAction applies.
function global:Test-FakeFailure($Result) {
    return ($Result -is [System.Management.Automation.ErrorRecord])
}
