package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// matrix sends to a room that the user of the token has joined,
// https://spec.matrix.org/latest/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
type matrix struct {
	texts
	Server string `json:"server"`
	Room   string `json:"room"`
	Token  string `json:"token"`
}

var matrixRoom = regexp.MustCompile(`^![!-~]{1,254}$`)

// matrixText is the most bytes of a text. An event has at most 65,536.
const matrixText = 16 << 10

func (x *matrix) check() error {
	x.Server = strings.TrimSuffix(x.Server, "/")
	switch {
	case !matrixRoom.MatchString(x.Room):
		return errors.New(`"room" must be the id of a room, such as "!abc:example.org", not its alias`)
	case x.Token == "", !printable(x.Token), strings.Contains(x.Token, " "), len(x.Token) > 2<<10:
		return errors.New(`"token" must be the access token of a user`)
	}
	return checkBase("server", x.Server)
}

func (x *matrix) masked() map[string]string {
	return map[string]string{"host": host(x.Server), "room": x.Room}
}

func (x *matrix) secrets() []string { return []string{x.Token} }

// send uses the id of the message as that of the transaction, so that an attempt that
// repeats a message makes no second one.
func (x *matrix) send(a *attempt, m Message) Result {
	text := m.Title
	if s := fit(m.Text, matrixText, utf8.RuneLen); s != "" {
		text += "\n" + s
	}
	if m.Link != "" {
		text += "\n" + m.Link
	}
	return a.post(request{
		method: http.MethodPut,
		url:    x.Server + "/_matrix/client/v3/rooms/" + url.PathEscape(x.Room) + "/send/m.room.message/" + m.ID,
		header: map[string]string{"Authorization": "Bearer " + x.Token},
		refine: refineMatrix,
	}, map[string]any{"msgtype": "m.text", "body": text})
}

// refineMatrix reads https://spec.matrix.org/latest/client-server-api/#standard-error-response
func refineMatrix(r *Result, body []byte) {
	var answer struct {
		Code       string  `json:"errcode"`
		Error      string  `json:"error"`
		Soft       bool    `json:"soft_logout"`
		RetryAfter float64 `json:"retry_after_ms"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Code == "" {
		return
	}
	r.Error = fmt.Sprintf("Matrix answered %d: %s %s", r.Status, answer.Code, answer.Error)
	r.RetryAfter = max(r.RetryAfter, seconds(answer.RetryAfter/1000))
	if answer.Code == "M_UNKNOWN_TOKEN" && !answer.Soft || answer.Code == "M_USER_DEACTIVATED" {
		r.Outcome, r.RetryAfter = Gone, 0
	}
}
