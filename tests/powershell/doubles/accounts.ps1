# Doubles of the local accounts, access lists and the firewall.
#
# state.users: name -> {sid, enabled, passwords}; state.groups: SID -> [SIDs]

function global:New-FakeUser([string]$Name, $Entry) {
    return [pscustomobject]@{ Name = $Name; Enabled = $Entry.enabled; SID = [pscustomobject]@{ Value = $Entry.sid } | Add-Member -MemberType ScriptMethod -Name ToString -Value { $this.Value } -Force -PassThru }
}

function global:Find-FakeUser($State, [string]$Name) {
    $entry = Get-FakeEntry -Table $State.users -Name $Name
    if ($null -eq $entry) {
        return (Write-FakeError -Message "User $Name was not found." -Id 'UserNotFound,Microsoft.PowerShell.Commands.GetLocalUserCommand' -Category 'ObjectNotFound' -Target $Name)
    }
    return (New-FakeUser -Name $Name -Entry $entry)
}

$Double['Get-LocalUser'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-LocalUser' -Bound $Bound
    if ($null -eq $Bound['Name']) {
        foreach ($property in $state.users.PSObject.Properties) { New-FakeUser -Name $property.Name -Entry $property.Value }
        return
    }
    return (Find-FakeUser -State $state -Name @($Bound['Name'])[0])
}

function global:Assert-FakePassword($Password) {
    if ($Password -isnot [System.Security.SecureString]) { throw 'the password is not a SecureString' }
    if ($Password.Length -lt 14) { throw 'Unable to update the password. The value provided for the new password does not meet the length, complexity, or history requirements of the domain.' }
}

$Double['New-LocalUser'] = {
    param($Bound)
    $state = Enter-Double -Command 'New-LocalUser' -Bound $Bound
    $name = $Bound['Name']
    if ($null -ne (Get-FakeEntry -Table $state.users -Name $name)) { return (Write-FakeError -Message "User $name already exists." -Id 'UserExists,Microsoft.PowerShell.Commands.NewLocalUserCommand' -Category 'ResourceExists' -Target $name) }
    if ($name.Length -gt 20) { throw "The value '$name' is longer than 20 characters" }
    Assert-FakePassword -Password $Bound['Password']
    $entry = [pscustomobject]@{ sid = ('S-1-5-21-1-2-3-' + (1001 + @($state.users.PSObject.Properties).Count)); enabled = (-not $Bound['Disabled']); passwords = 1; never_expires = [bool]$Bound['PasswordNeverExpires'] }
    Set-FakeEntry -Table $state.users -Name $name -Value $entry
    Save-FakeState -State $state
    return (New-FakeUser -Name $name -Entry $entry)
}

$Double['Set-LocalUser'] = {
    param($Bound)
    $state = Enter-Double -Command 'Set-LocalUser' -Bound $Bound
    $found = Find-FakeUser -State $state -Name $Bound['Name']
    if (Test-FakeFailure -Result $found) { return $found }
    $entry = Get-FakeEntry -Table $state.users -Name $Bound['Name']
    if ($null -ne $Bound['Password']) {
        Assert-FakePassword -Password $Bound['Password']
        $entry.passwords++
    }
    Save-FakeState -State $state
}

function global:Set-FakeEnabled([string]$Command, $Bound, [bool]$Enabled) {
    $state = Enter-Double -Command $Command -Bound $Bound
    $name = @($Bound['Name'])[0]
    $found = Find-FakeUser -State $state -Name $name
    if (Test-FakeFailure -Result $found) { return $found }
    (Get-FakeEntry -Table $state.users -Name $name).enabled = $Enabled
    Save-FakeState -State $state
}

$Double['Enable-LocalUser'] = { param($Bound) Set-FakeEnabled -Command 'Enable-LocalUser' -Bound $Bound -Enabled $true }
$Double['Disable-LocalUser'] = { param($Bound) Set-FakeEnabled -Command 'Disable-LocalUser' -Bound $Bound -Enabled $false }

function global:Find-FakeGroup($State, $Bound) {
    $members = Get-FakeEntry -Table $State.groups -Name ([string]$Bound['SID'])
    if ($null -eq $members) {
        return (Write-FakeError -Message "Group $($Bound['SID']) was not found." -Id 'GroupNotFound,Microsoft.PowerShell.Commands.GetLocalGroupMemberCommand' -Category 'ObjectNotFound' -Target $Bound['SID'])
    }
    return , @($members)
}

$Double['Get-LocalGroupMember'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-LocalGroupMember' -Bound $Bound
    $members = Find-FakeGroup -State $state -Bound $Bound
    if (Test-FakeFailure -Result $members) { return $members }
    foreach ($sid in $members) { [pscustomobject]@{ Name = "HOST\$sid"; SID = $sid } }
}

$Double['Add-LocalGroupMember'] = {
    param($Bound)
    $state = Enter-Double -Command 'Add-LocalGroupMember' -Bound $Bound
    $members = Find-FakeGroup -State $state -Bound $Bound
    if (Test-FakeFailure -Result $members) { return $members }
    $user = Find-FakeUser -State $state -Name @($Bound['Member'])[0]
    if (Test-FakeFailure -Result $user) { return $user }
    if ($members -contains [string]$user.SID) { return (Write-FakeError -Message "$($user.Name) is already a member of group." -Id 'MemberExists,Microsoft.PowerShell.Commands.AddLocalGroupMemberCommand' -Category 'ResourceExists' -Target $user) }
    Set-FakeEntry -Table $state.groups -Name ([string]$Bound['SID']) -Value @($members + [string]$user.SID)
    Save-FakeState -State $state
}

# state.acl: native path -> {protected, rules: [{sid, allow, rights, flags, inherited}]}; a path that
# is not listed inherits Users: ReadAndExecute from its parent, as C:\ProgramData does.
$Double['Get-Acl'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-Acl' -Bound $Bound
    $path = Convert-Path -LiteralPath @($Bound['LiteralPath'])[0]
    $entry = Get-FakeEntry -Table $state.acl -Name $path
    if ($null -eq $entry) {
        $entry = [pscustomobject]@{ protected = $false; rules = @([pscustomobject]@{ sid = 'S-1-5-32-545'; allow = $true; rights = 0x1200A9; flags = 0; inherited = $true }) }
    }
    $acl = [pscustomobject]@{ AreAccessRulesProtected = [bool]$entry.protected; Rules = @($entry.rules) }
    $acl | Add-Member -MemberType ScriptMethod -Name GetAccessRules -Value {
        param($Explicit, $Inherited, $Type)
        if ($Type.FullName -ne 'System.Security.Principal.SecurityIdentifier') { throw 'names of accounts are translated on localised Windows' }
        foreach ($rule in $this.Rules) {
            if (($rule.inherited -and -not $Inherited) -or (-not $rule.inherited -and -not $Explicit)) { continue }
            $kind = 'Deny'
            if ($rule.allow) { $kind = 'Allow' }
            [pscustomobject]@{ IdentityReference = [pscustomobject]@{ Value = $rule.sid }; AccessControlType = $kind; FileSystemRights = [int]$rule.rights; InheritanceFlags = [int]$rule.flags; IsInherited = [bool]$rule.inherited }
        }
    }
    return $acl
}

# state.firewall: name -> {DisplayName, Enabled, Direction, Action, Profile, Protocol, LocalPort, RemoteAddress}
$Double['Get-NetFirewallRule'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-NetFirewallRule' -Bound $Bound
    $name = @($Bound['Name'])[0]
    $entry = Get-FakeEntry -Table $state.firewall -Name $name
    if ($null -eq $entry) {
        return (Write-FakeError -Message "No MSFT_NetFirewallRule objects found with property 'InstanceID' equal to '$name'." -Id 'CmdletizationQuery_NotFound_InstanceID,Get-NetFirewallRule' -Category 'ObjectNotFound' -Target $name)
    }
    return [pscustomobject]@{ Name = $name; DisplayName = $entry.DisplayName; Enabled = $entry.Enabled; Direction = $entry.Direction; Action = $entry.Action; Profile = $entry.Profile }
}

$Double['Get-NetFirewallPortFilter'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-NetFirewallPortFilter' -Bound $Bound
    $entry = Get-FakeEntry -Table $state.firewall -Name $Bound['AssociatedNetFirewallRule'].Name
    return [pscustomobject]@{ Protocol = $entry.Protocol; LocalPort = $entry.LocalPort }
}

$Double['Get-NetFirewallAddressFilter'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-NetFirewallAddressFilter' -Bound $Bound
    $entry = Get-FakeEntry -Table $state.firewall -Name $Bound['AssociatedNetFirewallRule'].Name
    return [pscustomobject]@{ RemoteAddress = $entry.RemoteAddress }
}

$Double['Remove-NetFirewallRule'] = {
    param($Bound)
    $state = Enter-Double -Command 'Remove-NetFirewallRule' -Bound $Bound
    $name = @($Bound['Name'])[0]
    if ($null -eq (Get-FakeEntry -Table $state.firewall -Name $name)) {
        return (Write-FakeError -Message "No MSFT_NetFirewallRule objects found with property 'InstanceID' equal to '$name'." -Id 'CmdletizationQuery_NotFound_InstanceID,Remove-NetFirewallRule' -Category 'ObjectNotFound' -Target $name)
    }
    $state.firewall.PSObject.Properties.Remove($name)
    Save-FakeState -State $state
}

$Double['New-NetFirewallRule'] = {
    param($Bound)
    $state = Enter-Double -Command 'New-NetFirewallRule' -Bound $Bound
    if ($null -ne (Get-FakeEntry -Table $state.firewall -Name $Bound['Name'])) {
        return (Write-FakeError -Message 'Cannot create a file when that file already exists.' -Id 'Windows System Error 183,New-NetFirewallRule' -Category 'NotSpecified' -Target $Bound['Name'])
    }
    if ($null -eq $Bound['DisplayName']) { throw 'The parameter is incorrect: DisplayName' }
    $entry = [pscustomobject]@{ DisplayName = $Bound['DisplayName']; Enabled = 'True'; Direction = 'Inbound'; Action = 'Allow'; Profile = 'Any'; Protocol = 'Any'; LocalPort = 'Any'; RemoteAddress = 'Any' }
    foreach ($name in @('Enabled', 'Direction', 'Action', 'Profile', 'Protocol', 'LocalPort', 'RemoteAddress')) {
        if ($null -ne $Bound[$name]) { $entry.$name = @($Bound[$name])[0] }
    }
    Set-FakeEntry -Table $state.firewall -Name $Bound['Name'] -Value $entry
    Save-FakeState -State $state
    return [pscustomobject]@{ Name = $Bound['Name'] }
}
