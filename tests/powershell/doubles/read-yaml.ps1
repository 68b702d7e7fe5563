# Reads texts with first boot's reader of YAML: for each of -Texts (a JSON list in a file) a line of
# JSON with what was read and what was told. Only the reader of -Reader (firstboot.ps1) is run.
param([string]$Reader, [string]$Texts)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$tree = [System.Management.Automation.Language.Parser]::ParseFile($Reader, [ref]$null, [ref]$null)
foreach ($part in @($tree.EndBlock.Statements | ForEach-Object -Process { $_.Extent.Text })) {
    if ($part -match '^function |^\$script:Yaml') {
        . ([scriptblock]::Create($part))
    }
}
$script:Told = @()
function Add-Failure([string]$Text) {
    $script:Told += $Text
}
foreach ($given in @(ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($Texts)) | ForEach-Object -Process { $_ })) {
    $script:Told = @()
    $read = Read-Yaml -Text $given -Name 'it' -Broken @{}
    [Console]::Out.WriteLine('##read ' + (ConvertTo-Json -InputObject @{ read = $read; told = $script:Told } -Compress -Depth 8))
}
exit 0
