@echo off
powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File "%ProgramData%\golden\firstboot.ps1" -Register
