@echo off
sc.exe config cloudbase-init start= auto
sc.exe start cloudbase-init
