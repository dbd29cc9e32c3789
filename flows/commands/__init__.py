"""Commands of `spo` beyond the stages of the job, a file each."""
