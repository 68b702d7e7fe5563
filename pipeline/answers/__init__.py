"""What answers Setup's questions: answer file, guest plans, their validation, the cidata disc."""
