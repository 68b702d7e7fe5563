# Doubles of the scheduled tasks. Start-ScheduledTask runs the action to its end when state.run_tasks
# says so; a number is what the action is taken to have ended with; `slow` has ended with 0 once it was asked for; else the test reads the registered command line back and runs it itself.

$Double['New-ScheduledTaskAction'] = {
    param($Bound)
    Enter-Double -Command 'New-ScheduledTaskAction' -Bound $Bound | Out-Null
    return [pscustomobject]@{ execute = [string]$Bound['Execute']; argument = [string]$Bound['Argument'] }
}

$Double['New-ScheduledTaskPrincipal'] = {
    param($Bound)
    Enter-Double -Command 'New-ScheduledTaskPrincipal' -Bound $Bound | Out-Null
    return [pscustomobject]@{ user = [string]$Bound['UserId']; logon = [string]$Bound['LogonType']; level = [string]$Bound['RunLevel'] }
}

$Double['New-ScheduledTaskTrigger'] = {
    param($Bound)
    Enter-Double -Command 'New-ScheduledTaskTrigger' -Bound $Bound | Out-Null
    if (-not $Bound['AtStartup']) { throw 'the fake machine knows -AtStartup only' }
    return [pscustomobject]@{ at = 'startup' }
}

$Double['New-ScheduledTaskSettingsSet'] = {
    param($Bound)
    Enter-Double -Command 'New-ScheduledTaskSettingsSet' -Bound $Bound | Out-Null
    return [pscustomobject]@{ limit = [string]$Bound['ExecutionTimeLimit']; batteries = [bool]$Bound['AllowStartIfOnBatteries']; keep = [bool]$Bound['DontStopIfGoingOnBatteries'] }
}

$Double['Register-ScheduledTask'] = {
    param($Bound)
    $state = Enter-Double -Command 'Register-ScheduledTask' -Bound $Bound
    $name = $Bound['TaskName']
    if ($null -ne (Get-FakeEntry -Table $state.tasks -Name $name) -and -not $Bound['Force']) {
        return (Write-FakeError -Message 'Cannot create a file when that file already exists.' -Id 'HRESULT 0x800700b7,Register-ScheduledTask' -Category 'ResourceExists' -Target $name)
    }
    $entry = [pscustomobject]@{ action = @($Bound['Action'])[0]; principal = $Bound['Principal']; trigger = @($Bound['Trigger'])[0]; settings = $Bound['Settings']; result = 267011; started = 0 }
    Set-FakeEntry -Table $state.tasks -Name $name -Value $entry
    Save-FakeState -State $state
    return [pscustomobject]@{ TaskName = $name }
}

function global:Find-FakeTask([string]$Command, $State, [string]$Name) {
    $entry = Get-FakeEntry -Table $State.tasks -Name $Name
    if ($null -eq $entry) {
        return (Write-FakeError -Message 'The system cannot find the file specified.' -Id "HRESULT 0x80070002,$Command" -Category 'ObjectNotFound' -Target $Name)
    }
    return $entry
}

$Double['Start-ScheduledTask'] = {
    param($Bound)
    $state = Enter-Double -Command 'Start-ScheduledTask' -Bound $Bound
    $entry = Find-FakeTask -Command 'Start-ScheduledTask' -State $state -Name $Bound['TaskName']
    if (Test-FakeFailure -Result $entry) { return $entry }
    $entry.started++
    if (@('hang', 'slow') -contains [string]$state.run_tasks) { $entry.result = 267009 }
    if ([string]$state.run_tasks -eq 'queue') { $entry.result = 267045 }
    if ($state.run_tasks -is [int] -or $state.run_tasks -is [long]) { $entry.result = [long]$state.run_tasks }
    Save-FakeState -State $state
    if ([string]$state.run_tasks -ne 'yes') { return }
    $process = [System.Diagnostics.Process]::Start($entry.action.execute, $entry.action.argument)
    $process.WaitForExit()
    $state = Read-FakeState
    (Get-FakeEntry -Table $state.tasks -Name $Bound['TaskName']).result = [uint32]('0x{0:x}' -f $process.ExitCode)
    $last = Get-FakeEntry -Table $state -Name 'task_result'
    if ($null -ne $last) { (Get-FakeEntry -Table $state.tasks -Name $Bound['TaskName']).result = $last }
    Save-FakeState -State $state
}

$Double['Stop-ScheduledTask'] = {
    param($Bound)
    $state = Enter-Double -Command 'Stop-ScheduledTask' -Bound $Bound
    $entry = Find-FakeTask -Command 'Stop-ScheduledTask' -State $state -Name @($Bound['TaskName'])[0]
    if (Test-FakeFailure -Result $entry) { return $entry }
}

$Double['Get-ScheduledTaskInfo'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-ScheduledTaskInfo' -Bound $Bound
    $entry = Find-FakeTask -Command 'Get-ScheduledTaskInfo' -State $state -Name $Bound['TaskName']
    if (Test-FakeFailure -Result $entry) { return $entry }
    $told = [uint32]$entry.result
    if ([string]$state.run_tasks -eq 'slow') {
        $entry.result = 0
        Save-FakeState -State $state
    }
    return [pscustomobject]@{ LastTaskResult = $told }
}

$Double['Unregister-ScheduledTask'] = {
    param($Bound)
    $state = Enter-Double -Command 'Unregister-ScheduledTask' -Bound $Bound
    if ($Bound['Confirm']) { throw 'Windows PowerShell is in NonInteractive mode. Read and Prompt functionality is not available.' }
    $name = @($Bound['TaskName'])[0]
    $entry = Find-FakeTask -Command 'Unregister-ScheduledTask' -State $state -Name $name
    if (Test-FakeFailure -Result $entry) { return $entry }
    $state.tasks.PSObject.Properties.Remove($name)
    Save-FakeState -State $state
}

$Double['Get-ScheduledTask'] = {
    param($Bound)
    $state = Enter-Double -Command 'Get-ScheduledTask' -Bound $Bound
    $name = @($Bound['TaskName'])[0]
    $entry = Find-FakeTask -Command 'Get-ScheduledTask' -State $state -Name $name
    if (Test-FakeFailure -Result $entry) { return $entry }
    return [pscustomobject]@{ TaskName = $name }
}
