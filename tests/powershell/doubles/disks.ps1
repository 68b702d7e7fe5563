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

$Double['Get-AppxPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-AppxPackage' -Bound $Bound
    foreach ($package in @($state.appx)) {
        [pscustomobject]@{ Name = $package.name; PackageFullName = $package.full; NonRemovable = $package.fixed; IsFramework = $package.framework; SignatureKind = $package.kind }
    }
}

$Double['Get-AppxProvisionedPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-AppxProvisionedPackage' -Bound $Bound
    foreach ($name in @($state.provisioned)) { [pscustomobject]@{ DisplayName = $name; PackageName = $name } }
}

$Double['Remove-AppxPackage'] = {
    param($Bound)
    $state = Enter-Double -Command 'Remove-AppxPackage' -Bound $Bound
    $state.appx = @(@($state.appx) | Where-Object -FilterScript { $_.full -ne $Bound['Package'] })
    Save-FakeState -State $state
}
