"""What every tool uses: statistics, pictures, tables, files, processes, resumable work."""
