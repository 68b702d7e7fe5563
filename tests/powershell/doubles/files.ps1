# Doubles of the commands that see the registry: first, what programs changed there meanwhile is
# applied. Then the engine's own command is used, or on an engine without a registry registry.ps1.

function global:Get-FakePath($Bound) {
    if (-not $global:FakeRegistryIsOurs) { return '' }
    if ($null -ne $Bound['LiteralPath']) { return (Get-FakeKey -Path ([string]@($Bound['LiteralPath'])[0])) }
    return (Get-FakeKey -Path ([string]@($Bound['Path'])[0]))
}

$Double['Test-Path'] = {
    param($Bound)
    Update-FakeRegistry
    $key = Get-FakePath -Bound $Bound
    if ($key -ne '') { return (Test-FakeKey -Key $key) }
    return (Microsoft.PowerShell.Management\Test-Path @Bound)
}

$Double['Get-Item'] = {
    param($Bound)
    Update-FakeRegistry
    $key = Get-FakePath -Bound $Bound
    if ($key -ne '') { return (Get-FakeKeyItem -Key $key) }
    return (Microsoft.PowerShell.Management\Get-Item @Bound)
}

$Double['New-Item'] = {
    param($Bound)
    $key = Get-FakePath -Bound $Bound
    if ($key -ne '') { return (New-FakeKey -Key $key) }
    return (Microsoft.PowerShell.Management\New-Item @Bound)
}

$Double['New-ItemProperty'] = {
    param($Bound)
    $key = Get-FakePath -Bound $Bound
    if ($key -ne '') { return (Set-FakeValue -Key $key -Name $Bound['Name'] -Kind $Bound['PropertyType'] -Data $Bound['Value']) }
    return (Microsoft.PowerShell.Management\New-ItemProperty @Bound)
}

$Double['Remove-ItemProperty'] = {
    param($Bound)
    $key = Get-FakePath -Bound $Bound
    if ($key -ne '') {
        $global:FakeRegistry[$key].Remove(@($Bound['Name'])[0])
        return (Save-FakeRegistry)
    }
    return (Microsoft.PowerShell.Management\Remove-ItemProperty @Bound)
}

# state.open_files: names of files that another program holds open.
$Double['Remove-Item'] = {
    param($Bound)
    $key = Get-FakePath -Bound $Bound
    $path = [string]@($Bound['LiteralPath'])[0]
    if (@((Read-FakeState).open_files) -contains ($path -split '[\\/]')[-1]) {
        return (Write-FakeError -Message "Cannot remove item ${path}: The process cannot access the file because it is being used by another process." -Id 'RemoveFileSystemItemIOError,Microsoft.PowerShell.Commands.RemoveItemCommand' -Category 'WriteError' -Target $path)
    }
    if ($key -ne '') {
        foreach ($name in @($global:FakeRegistry.Keys)) {
            if ($name -eq $key -or $name.StartsWith($key + '\', 'OrdinalIgnoreCase')) { $global:FakeRegistry.Remove($name) }
        }
        return (Save-FakeRegistry)
    }
    return (Microsoft.PowerShell.Management\Remove-Item @Bound)
}
