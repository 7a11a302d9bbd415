// Posts each notification as a message to a chat room.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"postrider/handler"
	"postrider/host"
	"postrider/http"
	"postrider/notifier"
	types "postrider/wit/types"
)

//go:embed config-schema.json
var schema string

var config struct {
	URL     string `json:"url"`
	Channel string `json:"channel"`
	Token   string `json:"token"`
}

func init() {
	notifier.Export(notifier.Notifier{Describe: describe, Configure: configure, Send: send})
}

func main() {}

func describe() handler.Description {
	return handler.Description{
		Name:         "chatline",
		Version:      "0.1.0",
		Summary:      "Posts each notification as a message to a chat room.",
		ConfigSchema: types.Some(schema),
		Origins:      []string{"https://chat.example.com"},
		Secrets:      []string{"token"},
		MaxContent:   types.Some(uint32(16_384)),
	}
}

func configure(given []byte) error {
	config.URL, config.Channel, config.Token = "", "", ""
	decoder := json.NewDecoder(bytes.NewReader(given))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if config.URL == "" {
		return errors.New("config.url: missing; expected the URL of the chat's webhook")
	}
	return nil
}

func send(n handler.Notification) (handler.Receipt, error) {
	host.Log(host.Level_Info, fmt.Sprintf("posting %s, attempt %d", n.Id, n.Attempt))
	message := map[string]string{"text": text(n)}
	if config.Channel != "" {
		message["channel"] = config.Channel
	}
	body, err := json.Marshal(message)
	if err != nil {
		return handler.Receipt{}, err
	}
	headers := []types.Tuple2[string, string]{
		{F0: "content-type", F1: "application/json"},
		{F0: "idempotency-key", F1: n.Id},
	}
	if config.Token != "" {
		headers = append(headers, types.Tuple2[string, string]{F0: "authorization", F1: "Bearer " + config.Token})
	}
	return verdict(http.Send(http.Request{Method: "POST", Url: config.URL, Headers: headers, Body: body}))
}

// text makes one message, such as `[critical] alert.firing db1: disk 91 % full`.
func text(n handler.Notification) string {
	var line strings.Builder
	for _, label := range n.Labels {
		if label.F0 == "severity" {
			fmt.Fprintf(&line, "[%s] ", label.F1)
		}
	}
	line.WriteString(n.Kind)
	if n.Subject.IsSome() {
		line.WriteString(" " + n.Subject.Some())
	}
	if !utf8.Valid(n.Content) {
		fmt.Fprintf(&line, ": %d bytes of %s", len(n.Content), n.ContentType)
	} else if len(n.Content) > 0 {
		line.WriteString(": " + string(n.Content))
	}
	if n.Part.IsSome() {
		fmt.Fprintf(&line, " (part %d of %d)", n.Part.Some().Index+1, n.Part.Some().Count)
	}
	return line.String()
}
