// Takes each notification and does nothing: what is left is what an instance costs.
package main

import (
	"postrider/handler"
	"postrider/notifier"
)

func init() {
	notifier.Export(notifier.Notifier{Describe: describe, Configure: configure, Send: send})
}

func main() {}

func describe() handler.Description {
	return handler.Description{Name: "noop", Version: "1", Summary: "Does nothing."}
}

func configure([]byte) error { return nil }

func send(handler.Notification) (handler.Receipt, error) { return handler.Receipt{}, nil }
