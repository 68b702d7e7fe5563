# Doubles of volumes, partitions, the host name and store apps.
#
# state.volumes: [{letter, label, type, folder}]; state.partition: {size, max}

$Double['Get-Volume'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-Volume' -Bound $Bound
    foreach ($volume in @($state.volumes)) {
        $letter = $null
        if ($volume.letter) { $letter = [char][string]$volume.letter }
        [pscustomobject]@{ DriveLetter = $letter; FileSystemLabel = [string]$volume.label; DriveType = [string]$volume.type; FileSystem = [string]$volume.system; Path = [string]$volume.path }
    }
}

$Double['Get-Partition'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-Partition' -Bound $Bound
    return [pscustomobject]@{ DriveLetter = $Bound['DriveLetter']; Size = [long]$state.partition.size }
}

$Double['Get-PartitionSupportedSize'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-PartitionSupportedSize' -Bound $Bound
    return [pscustomobject]@{ SizeMin = 1; SizeMax = [long]$state.partition.max }
}

$Double['Resize-Partition'] = {
    param($Bound)
    $state = Enter-Double -Command 'Resize-Partition' -Bound $Bound
    if ([long]$Bound['Size'] -eq [long]$state.partition.size) {
        return (Write-FakeError -Message 'The size of the extent is less than the minimum of 1MB.' -Id 'StorageWMI 4096,Resize-Partition' -Category 'NotSpecified' -Target $Bound['DriveLetter'])
    }
    if ([long]$Bound['Size'] -gt [long]$state.partition.max) {
        return (Write-FakeError -Message 'Size Not Supported' -Id 'StorageWMI 4097,Resize-Partition' -Category 'NotSpecified' -Target $Bound['DriveLetter'])
    }
    $state.partition.size = [long]$Bound['Size']
    Save-FakeState -State $state
}

$Double['Rename-Computer'] = {
    param($Bound)
    $state = Enter-Double -Command 'Rename-Computer' -Bound $Bound
    $name = [string]$Bound['NewName']
    if ($name.Length -gt 15 -or $name -notmatch '^[A-Za-z0-9-]+$' -or $name -match '^\d+$') {
        return (Write-FakeError -Message "Skip computer '$($state.host_name)' with new name '$name' because the new name is not valid." -Id 'InvalidNewName,Microsoft.PowerShell.Commands.RenameComputerCommand' -Category 'InvalidArgument' -Target $name)
    }
    if ($name -eq [string]$state.host_name) {
        return (Write-FakeError -Message "Skip computer '$name' with new name '$name' because the new name is the same as the current name." -Id 'NewNameIsOldName,Microsoft.PowerShell.Commands.RenameComputerCommand' -Category 'InvalidArgument' -Target $name)
    }
    $state.host_name_after_restart = $name
    Save-FakeState -State $state
}

# The filter's words are those of Windows.Management.Deployment.PackageTypes; without one it is
# Main and Framework.
$Double['Get-AppxPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-AppxPackage' -Bound $Bound
    if ($state.appx -is [string]) {
        return (Write-FakeError -Message $state.appx -Id 'System.Exception,Microsoft.Windows.Appx.PackageManager.Commands.GetAppxPackageCommand' -Category 'NotSpecified')
    }
    $types = @('Main', 'Framework')
    if ($Bound.ContainsKey('PackageTypeFilter')) { $types = @([string]$Bound['PackageTypeFilter']) }
    foreach ($package in @($state.appx)) {
        if ($types -contains $package.type) {
            [pscustomobject]@{
                Name = $package.name; PackageFullName = $package.full; Version = $package.version; SignatureKind = $package.kind
                NonRemovable = $package.fixed; IsFramework = ($package.type -eq 'Framework'); IsBundle = ($package.type -eq 'Bundle')
            }
        }
    }
}

$Double['Get-AppxProvisionedPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-AppxProvisionedPackage' -Bound $Bound
    foreach ($one in @($state.provisioned)) { [pscustomobject]@{ DisplayName = $one.name; PackageName = $one.full; Version = $one.version } }
}

$Double['Remove-AppxPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Remove-AppxPackage' -Bound $Bound
    $package = @($state.appx | Where-Object -FilterScript { $_.full -eq $Bound['Package'] })[0]
    if ($null -ne $package.part_of -or $package.used) {
        return (Write-FakeError -Message "Deployment failed with HRESULT: 0x80073CFA, Removal failed. $($package.full)" -Id 'DeploymentError,Microsoft.Windows.Appx.PackageManager.Commands.RemoveAppxPackageCommand' -Category 'WriteError' -Target $package.full)
    }
    # What is in a bundle goes with it.
    $state.appx = @(@($state.appx) | Where-Object -FilterScript { $_.full -ne $package.full -and $_.part_of -ne $package.full })
    Save-FakeState -State $state
}
