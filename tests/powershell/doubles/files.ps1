# Doubles of the commands that see what programs changed in the registry meanwhile, then behave.

$Double['Test-Path'] = {
    param($Bound)
    Update-FakeRegistry
    return (Microsoft.PowerShell.Management\Test-Path @Bound)
}

$Double['Get-Item'] = {
    param($Bound)
    Update-FakeRegistry
    return (Microsoft.PowerShell.Management\Get-Item @Bound)
}
