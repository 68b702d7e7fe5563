# Doubles of the service commands and of Get-CimInstance for the classes that the scripts ask.
#
# state.services: name -> {binary, display_name, start (Auto, Manual, Disabled), state, depend, exit_code}

function global:New-FakeService([string]$Name, $Entry) {
    return [pscustomobject]@{
        Name               = $Name
        DisplayName        = $Entry.display_name
        Status             = ($Entry.state -replace ' ', '')
    }
}

# Windows keeps in the registry what a service needs, whether that is there or not.
function global:Set-FakeDependency([string]$Name, [string[]]$Needed) {
    Set-FakeEffect -Effect ([pscustomobject]@{ key = "HKLM:\SYSTEM\CurrentControlSet\Services\$Name"; name = 'DependOnService'; type = 'MultiString'; value = $Needed })
}

$Double['Get-Service'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-Service' -Bound $Bound
    $name = @($Bound['Name'])[0]
    $entry = Get-FakeEntry -Table $state.services -Name $name
    if ($null -eq $entry) {
        return (Write-FakeError -Message "Cannot find any service with service name '$name'." -Id 'NoServiceFoundForGivenName,Microsoft.PowerShell.Commands.GetServiceCommand' -Category 'ObjectNotFound' -Target $name)
    }
    return (New-FakeService -Name $name -Entry $entry)
}

$Double['New-Service'] = {
    param($Bound)
    $state = Enter-Double -Command 'New-Service' -Bound $Bound
    $name = $Bound['Name']
    if ($null -ne (Get-FakeEntry -Table $state.services -Name $name)) {
        return (Write-FakeError -Message "Service '$name ($name)' cannot be created due to the following error: The specified service already exists" -Id 'CouldNotNewService,Microsoft.PowerShell.Commands.NewServiceCommand' -Category 'PermissionDenied' -Target $name)
    }
    $start = @{ Automatic = 'Auto'; Manual = 'Manual'; Disabled = 'Disabled' }[[string]$Bound['StartupType']]
    if ($null -eq $start) { throw "Cannot convert value '$($Bound['StartupType'])' to type 'System.ServiceProcess.ServiceStartMode'" }
    $entry = [pscustomobject]@{ binary = $Bound['BinaryPathName']; display_name = [string]$Bound['DisplayName']; start = $start; state = 'Stopped'; depend = @($Bound['DependsOn'] | Where-Object -FilterScript { $_ }); exit_code = 1077 }
    Set-FakeEntry -Table $state.services -Name $name -Value $entry
    Save-FakeState -State $state
    if ($entry.depend.Count -gt 0) { Set-FakeDependency -Name $name -Needed $entry.depend }
    return (New-FakeService -Name $name -Entry $entry)
}

# A service that is slow to start runs once it was looked at twice while it was pending.
function global:Step-FakeService($State, $Entry) {
    if ((Get-FakeEntry -Table $Entry -Name 'on_start') -ne 'slow' -or $Entry.state -ne 'Start Pending') { return }
    $looks = 1 + [int](Get-FakeEntry -Table $Entry -Name 'looks')
    Set-FakeEntry -Table $Entry -Name 'looks' -Value $looks
    if ($looks -gt 2) { $Entry.state = 'Running' }
    Save-FakeState -State $State
}

$Double['Get-CimInstance'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-CimInstance' -Bound $Bound
    $filter = [string]$Bound['Filter']
    switch ($Bound['ClassName']) {
        'Win32_Service' {
            if ($filter -notmatch "^Name='([^']*)'$") { throw 'Invalid query' }
            $name = $Matches[1]
            $entry = Get-FakeEntry -Table $state.services -Name $name
            if ($null -eq $entry) { return }
            Step-FakeService -State $state -Entry $entry
            return [pscustomobject]@{ Name = $name; PathName = $entry.binary; StartMode = $entry.start; State = $entry.state; ExitCode = $entry.exit_code }
        }
        'Win32_QuickFixEngineering' {
            if ($filter -notmatch "^HotFixID='(KB\d+)'$") { throw 'Invalid query' }
            $kb = $Matches[1]
            if (@($state.hotfixes) -contains $kb) { return [pscustomobject]@{ HotFixID = $kb } }
            return
        }
        'Win32_OperatingSystem' {
            return [pscustomobject]@{ ProductType = $state.product_type; BuildNumber = '26100' }
        }
        default { throw "Invalid class: $($Bound['ClassName'])" }
    }
}
