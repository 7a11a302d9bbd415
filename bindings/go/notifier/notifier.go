// Package notifier makes a module of three Go functions.
package notifier

import (
	"errors"

	"postrider/handler"
	"postrider/wit/types"
)

// Notifier is what a module does; see wit/notifier.wit.
type Notifier struct {
	// Describe says what the module is and what it will want.
	Describe func() handler.Description
	// Configure takes the [config] table as JSON. Its error names the key and what is expected.
	Configure func(config []byte) error
	// Send sends one notification. An error that is no [Failure] is tried again.
	Send func(n handler.Notification) (handler.Receipt, error)
}

// Failure is why a notification was not taken.
type Failure struct{ handler.Failure }

func (f Failure) Error() string {
	switch f.Tag() {
	case handler.Failure_Rejected:
		return f.Rejected()
	case handler.Failure_Gone:
		return f.Gone()
	default:
		return f.Retry().Reason
	}
}

var exported Notifier

// Export sets what the module exports. Called from an init function.
func Export(n Notifier) { exported = n }

func exportDescribe() handler.Description { return exported.Describe() }

func exportConfigure(config string) wit_types.Result[bool, string] {
	if err := exported.Configure([]byte(config)); err != nil {
		return wit_types.Err[bool, string](err.Error())
	}
	return wit_types.Ok[bool, string](true)
}

func exportSend(n handler.Notification) wit_types.Result[handler.Receipt, handler.Failure] {
	receipt, err := exported.Send(n)
	if err == nil {
		return wit_types.Ok[handler.Receipt, handler.Failure](receipt)
	}
	var failure Failure
	if !errors.As(err, &failure) {
		failure.Failure = handler.MakeFailureRetry(handler.Retry{Reason: err.Error()})
	}
	return wit_types.Err[handler.Receipt, handler.Failure](failure.Failure)
}
