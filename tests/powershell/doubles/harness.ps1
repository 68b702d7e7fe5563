# Runs scripts of the project on the fake machine: one after another in one PowerShell.
#
# $env:GOLDEN_BATCH is a JSON list of {script, arguments: [...], state}; each gets its own state.json
# when one is given. After a run its beacons, the programs it called and the state it left are told
# on stdout (`##com1`, `##call`, `##state`), and at last its exit code (`##exit N`).

. (Join-Path -Path $PSScriptRoot -ChildPath 'machine.ps1')
foreach ($file in @('registry.ps1', 'objects.ps1', 'services.ps1', 'accounts.ps1', 'tasks.ps1', 'files.ps1', 'disks.ps1')) {
    . (Join-Path -Path $PSScriptRoot -ChildPath $file)
}
Initialize-FakeEngine
. $env:GOLDEN_DOUBLES

$batch = ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($env:GOLDEN_BATCH))
foreach ($run in @($batch | ForEach-Object -Process { $_ })) {
    if ($null -ne $run.state) {
        [System.IO.File]::WriteAllText((Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'state.json'), (ConvertTo-Json -InputObject $run.state -Depth 20 -Compress))
        $env:COMPUTERNAME = [string]$run.state.host_name
    }
    $named = @{}
    $words = @($run.arguments | ForEach-Object -Process { $_ })
    for ($index = 0; $index -lt $words.Count; $index++) {
        $value = $true
        if ($index + 1 -lt $words.Count -and $words[$index + 1] -notlike '-[A-Za-z]*') {
            $index++
            $value = $words[$index]
            $named[$words[$index - 1].Substring(1)] = $value
        } else {
            $named[$words[$index].Substring(1)] = $value
        }
    }
    $global:LASTEXITCODE = 0
    try {
        & $run.script @named
    } catch {
        [Console]::Out.WriteLine('##uncaught ' + $_.Exception.Message + ' ' + $_.ScriptStackTrace)
        $global:LASTEXITCODE = 99
    }
    foreach ($kind in @{ com1 = 'com1.txt'; call = 'calls.jsonl'; command = 'commands.txt' }.GetEnumerator()) {
        $file = Join-Path -Path $env:GOLDEN_MACHINE -ChildPath $kind.Value
        if ([System.IO.File]::Exists($file)) {
            foreach ($line in [System.IO.File]::ReadAllLines($file)) { [Console]::Out.WriteLine('##' + $kind.Key + ' ' + $line) }
            [System.IO.File]::Delete($file)
        }
    }
    [Console]::Out.WriteLine('##state ' + [System.IO.File]::ReadAllText((Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'state.json')))
    [Console]::Out.WriteLine('##exit ' + $global:LASTEXITCODE)
}
Update-FakeRegistry
exit $global:LASTEXITCODE
