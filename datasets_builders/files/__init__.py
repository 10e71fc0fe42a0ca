"""Files of rows, whatever they are packed in: which files a name stands for, and their rows one by one."""
