module chatline

go 1.27

require postrider v0.0.0

replace postrider => ./postrider
