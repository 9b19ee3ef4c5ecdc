"""Exchange with Label Studio: proposals, answers, manual tasks, the validation set."""
