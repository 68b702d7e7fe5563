# Tells what first boot left, between two runs of one batch, as the next run overwrites it.

$folder = Join-Path -Path $env:GOLDEN_MACHINE -ChildPath 'c'
$keys = Join-Path -Path $folder -ChildPath 'ProgramData/ssh/administrators_authorized_keys'
$text = ''
if ([System.IO.File]::Exists($keys)) { $text = [System.IO.File]::ReadAllText($keys) }
$result = [System.IO.File]::ReadAllText((Join-Path -Path $folder -ChildPath 'ProgramData/golden/first-boot.json'))
[Console]::Out.WriteLine('##shown ' + (ConvertTo-Json -InputObject @{ keys = $text; result = $result } -Compress))
exit 0
