# A registry and a C: drive for an engine that has neither: PowerShell 7 on Linux.
#
# $env:GOLDEN_REGISTRY is the JSON file, in the same form as the one the stand-in for 5.1 keeps:
# key -> value name -> {type, data}. GOLDEN_DRIVE_<letter> is the folder of a drive.

$global:FakeRegistry = @{}
$global:FakeKinds = @{ String = 'REG_SZ'; ExpandString = 'REG_EXPAND_SZ'; DWord = 'REG_DWORD'; QWord = 'REG_QWORD'; MultiString = 'REG_MULTI_SZ'; Binary = 'REG_BINARY' }

function global:Read-FakeRegistry {
    $read = ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($env:GOLDEN_REGISTRY))
    foreach ($key in $read.PSObject.Properties) {
        $values = @{}
        foreach ($value in $key.Value.PSObject.Properties) { $values[$value.Name] = @{ type = $value.Value.type; data = $value.Value.data } }
        $global:FakeRegistry[$key.Name] = $values
    }
}

function global:Save-FakeRegistry {
    [System.IO.File]::WriteAllText($env:GOLDEN_REGISTRY, (ConvertTo-Json -InputObject $global:FakeRegistry -Depth 8))
}

# The key a path names, or nothing when it is no path of the registry.
function global:Get-FakeKey([string]$Path) {
    if ($Path -notlike 'HKLM:\*') { return '' }
    return ('HKEY_LOCAL_MACHINE\' + $Path.Substring(6).Trim('\'))
}

function global:Test-FakeKey([string]$Key) {
    if ($global:FakeRegistry.ContainsKey($Key)) { return $true }
    return (@($global:FakeRegistry.Keys | Where-Object -FilterScript { $_.StartsWith($Key + '\', 'OrdinalIgnoreCase') }).Count -gt 0)
}

# Remaking an existing key empties it, as on Windows.
function global:New-FakeKey([string]$Key) {
    $global:FakeRegistry[$Key] = @{}
    Save-FakeRegistry
}

function global:Get-FakeKeyItem([string]$Key) {
    $values = @{}
    if ($global:FakeRegistry.ContainsKey($Key)) { $values = $global:FakeRegistry[$Key] }
    $item = [pscustomobject]@{ Name = $Key; Values = $values }
    $item | Add-Member -MemberType ScriptMethod -Name GetValueNames -Value { return , [string[]]@($this.Values.Keys) }
    $item | Add-Member -MemberType ScriptMethod -Name GetValueKind -Value {
        param($Name)
        $type = $this.Values[$Name].type
        return ($global:FakeKinds.GetEnumerator() | Where-Object -FilterScript { $_.Value -eq $type }).Key
    }
    $item | Add-Member -MemberType ScriptMethod -Name GetValue -Value {
        param($Name, $Default, $Options)
        $value = $this.Values[$Name]
        switch ($value.type) {
            'REG_DWORD' { return [BitConverter]::ToInt32([BitConverter]::GetBytes([long]$value.data), 0) }
            'REG_QWORD' { return [long]$value.data }
            'REG_MULTI_SZ' { return , [string[]]@($value.data) }
            'REG_BINARY' { return , [byte[]]@([regex]::Matches([string]$value.data, '..') | ForEach-Object -Process { [Convert]::ToByte($_.Value, 16) }) }
            default { return [string]$value.data }
        }
    }
    return $item
}

function global:Set-FakeValue([string]$Key, [string]$Name, [string]$Kind, $Data) {
    if (-not $global:FakeRegistry.ContainsKey($Key)) { $global:FakeRegistry[$Key] = @{} }
    $kept = $Data
    if ($Kind -eq 'MultiString') { $kept = @($Data) }
    $global:FakeRegistry[$Key][$Name] = @{ type = $global:FakeKinds[$Kind]; data = $kept }
    Save-FakeRegistry
}

function global:Initialize-FakeEngine {
    foreach ($variable in @(Get-ChildItem -Path 'Env:' | Where-Object -FilterScript { $_.Name -match '^GOLDEN_DRIVE_([A-Z])$' })) {
        $letter = $variable.Name.Substring(13, 1)
        if ($null -eq (Get-PSDrive -Name $letter -ErrorAction SilentlyContinue)) {
            New-PSDrive -Name $letter -PSProvider FileSystem -Root $variable.Value -Scope Global | Out-Null
        }
    }
    $engine = Get-PSDrive -Name 'HKLM' -ErrorAction SilentlyContinue
    $global:FakeRegistryIsOurs = $null -eq $engine -or $env:GOLDEN_OWN_REGISTRY -eq '1'
    if ($global:FakeRegistryIsOurs) { Read-FakeRegistry }
}
