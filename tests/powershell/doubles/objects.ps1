# Doubles of .NET and COM objects: the serial port COM1 and the Windows Installer.

function global:New-FakePort {
    $port = Microsoft.PowerShell.Utility\New-Object -TypeName PSObject
    $port | Add-Member -MemberType NoteProperty -Name WriteTimeout -Value -1
    $port | Add-Member -MemberType ScriptMethod -Name Open -Value {
        $state = [string](Read-FakeState).com1
        if ($state -eq 'absent') { throw (Microsoft.PowerShell.Utility\New-Object -TypeName System.IO.IOException -ArgumentList "The port 'COM1' does not exist.") }
        if ($state -eq 'busy') { throw (Microsoft.PowerShell.Utility\New-Object -TypeName System.UnauthorizedAccessException -ArgumentList "Access to the port 'COM1' is denied.") }
    }
    $port | Add-Member -MemberType ScriptMethod -Name Write -Value {
        param($Text)
        if ([string](Read-FakeState).com1 -eq 'stuck') {
            if ($this.WriteTimeout -lt 0) { [System.Environment]::Exit(99) }
            throw (Microsoft.PowerShell.Utility\New-Object -TypeName System.TimeoutException -ArgumentList 'The write timed out.')
        }
        Add-FakeLine -File 'com1.txt' -Text $Text
    }
    $port | Add-Member -MemberType ScriptMethod -Name Dispose -Value { }
    return $port
}

# An object whose GetType().InvokeMember() answers, as a COM object's does.
function global:New-FakeCom([hashtable]$Members) {
    $object = Microsoft.PowerShell.Utility\New-Object -TypeName PSObject
    $object | Add-Member -MemberType NoteProperty -Name Members -Value $Members
    $object | Add-Member -MemberType ScriptMethod -Name GetType -Force -Value {
        $type = Microsoft.PowerShell.Utility\New-Object -TypeName PSObject
        $type | Add-Member -MemberType ScriptMethod -Name InvokeMember -Value {
            param($Name, $Flags, $Binder, $Target, $Arguments)
            # A text that is still wrapped reaches a real COM object as an object, not as a text.
            foreach ($type in [Type]::GetTypeArray([object[]]@($Arguments))) {
                if ($type.FullName -eq 'System.Management.Automation.PSObject') { throw "Type mismatch. (Exception from HRESULT: 0x80020005 (DISP_E_TYPEMISMATCH)): $Name" }
            }
            $member = $Target.Members[$Name]
            if ($null -eq $member -or $member.Kind -ne $Flags) { throw "DISP_E_UNKNOWNNAME: $Name as $Flags" }
            return (& $member.Body $Target @Arguments)
        }
        return $type
    }
    return $object
}

# A fake .msi is a JSON file: {"properties": {"ProductCode": "{...}", "ProductVersion": "1.0"}}.
function global:New-FakeInstaller {
    return (New-FakeCom -Members @{
            OpenDatabase = @{ Kind = 'InvokeMethod'; Body = { param($Self, $Path, $OpenMode)
                    if ($OpenMode -ne 0) { throw 'MSI API Error: only msiOpenDatabaseModeReadOnly is expected' }
                    try { $package = ConvertFrom-Json -InputObject ([System.IO.File]::ReadAllText($Path)) } catch { throw 'MSI API Error: OpenDatabase,DatabasePath,OpenMode' }
                    return (New-FakeDatabase -Package $package) }
            }
        })
}

function global:New-FakeDatabase($Package) {
    $database = New-FakeCom -Members @{
        OpenView = @{ Kind = 'InvokeMethod'; Body = { param($Self, $Query)
                if ($Query -notmatch '^SELECT `Value` FROM `Property` WHERE `Property` = ''(\w+)''$') { throw 'MSI API Error: OpenView,Sql' }
                $view = New-FakeCom -Members @{
                    Execute = @{ Kind = 'InvokeMethod'; Body = { param($Me) $Me.Ready = $true } }
                    Fetch   = @{ Kind = 'InvokeMethod'; Body = { param($Me)
                            if (-not $Me.Ready) { throw 'MSI API Error: Fetch' }
                            $value = Get-FakeEntry -Table $Me.Package.properties -Name $Me.Asked
                            if ($null -eq $value) { return $null }
                            $record = New-FakeCom -Members @{ StringData = @{ Kind = 'GetProperty'; Body = { param($Mine, $Field) if ($Field -ne 1) { return '' } return $Mine.Value } } }
                            $record | Add-Member -MemberType NoteProperty -Name Value -Value $value
                            return $record }
                    }
                }
                $view | Add-Member -MemberType NoteProperty -Name Ready -Value $false
                $view | Add-Member -MemberType NoteProperty -Name Package -Value $Self.Package
                $view | Add-Member -MemberType NoteProperty -Name Asked -Value $Matches[1]
                return $view }
        }
    }
    $database | Add-Member -MemberType NoteProperty -Name Package -Value $Package
    return $database
}

$Double['New-Object'] = {
    param($Bound)
    if ($Bound['TypeName'] -eq 'System.IO.Ports.SerialPort') {
        if ([string](Read-FakeState).com1 -eq 'unknown') { throw 'Cannot find type [System.IO.Ports.SerialPort]: verify that the assembly containing this type is loaded.' }
        if (($Bound['ArgumentList'] -join ',') -ne 'COM1,115200,None,8,One') { throw "unexpected port: $($Bound['ArgumentList'])" }
        return (New-FakePort)
    }
    if ($Bound['TypeName'] -eq 'System.Diagnostics.Process') {
        $process = Microsoft.PowerShell.Utility\New-Object -TypeName System.Diagnostics.Process
        $process | Add-Member -MemberType ScriptProperty -Name ExitCode -Force -Value {
            $file = Join-Path -Path $env:GOLDEN_MACHINE -ChildPath ('exit-{0}' -f $this.Id)
            if ([System.IO.File]::Exists($file)) { return [int][System.IO.File]::ReadAllText($file) }
            return $this.PSBase.ExitCode
        }
        return $process
    }
    if ($Bound['TypeName'] -eq 'System.Threading.Mutex') {
        # A real one would be shared with every other fake machine of this host.
        if ($Bound['ArgumentList'][0] -or $Bound['ArgumentList'][1] -notlike 'Global\*') { throw 'the mutex must be global, and not owned at once' }
        $mutex = [pscustomobject]@{ Taken = [bool](Get-FakeEntry -Table (Read-FakeState) -Name 'mutex_taken') }
        $mutex | Add-Member -MemberType ScriptMethod -Name WaitOne -Value { param($Wait) return (-not $this.Taken) }
        $mutex | Add-Member -MemberType ScriptMethod -Name ReleaseMutex -Value { if ($this.Taken) { throw 'Object synchronization method was called from an unsynchronized block of code.' } }
        return $mutex
    }
    if ($Bound['ComObject'] -eq 'WindowsInstaller.Installer') { return (New-FakeInstaller) }
    return , (Microsoft.PowerShell.Utility\New-Object @Bound)
}
