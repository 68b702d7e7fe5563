# Runs PSScriptAnalyzer over the guest scripts and prints one line per finding.
#
# -Folder holds the scripts. The profile is Windows Server 2019 with Windows PowerShell 5.1.

param([string]$Folder)

$target = 'win-8_x64_10.0.17763.0_5.1.17763.316_x64_4.0.30319.42000_framework'
$settings = @{
    Rules = @{
        PSUseCompatibleCommands    = @{ Enable = $true; TargetProfiles = @($target) }
        PSUseCompatibleTypes       = @{ Enable = $true; TargetProfiles = @($target) }
        PSUseCompatibleSyntax      = @{ Enable = $true; TargetVersions = @('5.1') }
        PSPlaceOpenBrace           = @{ Enable = $true; OnSameLine = $true; NewLineAfter = $true; IgnoreOneLineBlock = $true }
        PSUseConsistentIndentation = @{ Enable = $true; Kind = 'space'; IndentationSize = 4 }
    }
}
Import-Module -Name PSScriptAnalyzer
foreach ($file in @(Get-ChildItem -Path $Folder -Filter '*.ps1')) {
    foreach ($finding in @(Invoke-ScriptAnalyzer -Path $file.FullName -Settings $settings)) {
        [Console]::Out.WriteLine(('finding {0}:{1}: {2}: {3}' -f $file.Name, $finding.Line, $finding.RuleName, $finding.Message))
    }
}
[Console]::Out.WriteLine('analysed')
