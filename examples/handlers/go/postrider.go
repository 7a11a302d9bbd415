package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"postrider/handler"
	"postrider/http"
	"postrider/notifier"
	types "postrider/wit/types"
)

// verdict says what an HTTP answer means for a delivery: 429 and 503 may say how long to wait, 410 is for ever, other
// 4xx are final. Yours to change.
func verdict(answer types.Result[http.Response, http.HttpError]) (handler.Receipt, error) {
	if answer.IsErr() {
		return handler.Receipt{}, failureOf(answer.Err())
	}
	response := answer.Ok()
	status := response.Status
	if status >= 200 && status < 300 {
		return handler.Receipt{Note: types.Some(strconv.Itoa(int(status)))}, nil
	}
	reason := strconv.Itoa(int(status))
	if words := strings.Fields(string(response.Body[:min(len(response.Body), 200)])); len(words) > 0 {
		reason += ": " + strings.ToValidUTF8(strings.Join(words, " "), "")
	}
	var wait time.Duration
	for _, header := range response.Headers {
		if header.F0 == "retry-after" && (status == 429 || status == 503) {
			wait = retryAfter(header.F1, time.Now())
		}
	}
	switch {
	case status == 410:
		return handler.Receipt{}, notifier.Failure{Failure: handler.MakeFailureGone(reason)}
	case status == 429 || wait > 0:
		return handler.Receipt{}, retry(reason, wait, handler.Scope_Destination)
	case status < 300, status >= 500, status == 408, status == 409, status == 425:
		return handler.Receipt{}, retry(reason, 0, handler.Scope_Delivery)
	default:
		return handler.Receipt{}, notifier.Failure{Failure: handler.MakeFailureRejected(reason)}
	}
}

// failureOf says what no answer at all means. Only a malformed request is final.
func failureOf(e http.HttpError) error {
	switch e.Tag() {
	case http.HttpError_Invalid:
		return notifier.Failure{Failure: handler.MakeFailureRejected("invalid request: " + e.Invalid())}
	case http.HttpError_Denied:
		return fmt.Errorf("denied: %s", e.Denied())
	case http.HttpError_Connect:
		return fmt.Errorf("no connection: %s", e.Connect())
	case http.HttpError_Timeout:
		return fmt.Errorf("no answer in time")
	case http.HttpError_TooLarge:
		return fmt.Errorf("the answer exceeds the limit")
	default:
		return fmt.Errorf("broken exchange: %s", e.Other())
	}
}

func retry(reason string, wait time.Duration, scope handler.Scope) error {
	failed := handler.Retry{Reason: reason, Scope: scope}
	if wait > 0 {
		failed.AfterMs = types.Some(uint64(wait.Milliseconds()))
	}
	return notifier.Failure{Failure: handler.MakeFailureRetry(failed)}
}

// retryAfter reads a `Retry-After`, seconds or a date; 0 where it asks for no wait.
func retryAfter(value string, now time.Time) time.Duration {
	const week = 7 * 24 * time.Hour
	value = strings.TrimSpace(value)
	if strings.Trim(value, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0
		}
		return time.Duration(min(seconds, week.Seconds()) * float64(time.Second))
	}
	date, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), week)
}
