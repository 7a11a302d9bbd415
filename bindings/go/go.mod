module postrider

go 1.27
