"""What each experiment concludes: the records that its analysis writes."""
