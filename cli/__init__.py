"""The command line: commands, reporters and the gate. It computes nothing itself."""
