"""What every room uses: files, progress, plug-ins, statistics."""
