"""What Windows Setup wants of an answer file, as rules that each name the fact they rest on."""
