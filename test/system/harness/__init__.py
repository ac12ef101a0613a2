"""harness - what every system test uses: cases, contexts, images, the runner."""
