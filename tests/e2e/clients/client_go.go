// The checks of test_clients.py with gorilla/websocket: client_go URL
//
// Prints "ok NAME" or "failed NAME: why" for each. Before the last one it prints
// "waiting for goodbye", upon which the broker is to be stopped.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const timeout = 30 * time.Second

var url = os.Args[1]

type object map[string]interface{}

// A client is a connection whose welcome has been read. A failed check panics; run() reports it.
type client struct {
	*websocket.Conn
	welcome object
}

func expect(actual, expected interface{}) {
	if !reflect.DeepEqual(actual, expected) {
		panic(fmt.Sprintf("%v is not %v", actual, expected))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open(dialer websocket.Dialer) *client {
	dialer.Subprotocols = []string{"fanfare.v1"}
	connection, _, err := dialer.Dial(url, nil)
	must(err)
	must(connection.SetReadDeadline(time.Now().Add(timeout)))
	c := &client{Conn: connection}
	c.welcome = c.receive()
	expect(c.welcome["op"], "welcome")
	return c
}

func (c *client) command(command object) { must(c.WriteJSON(command)) }

func (c *client) send(text string) { must(c.WriteMessage(websocket.TextMessage, []byte(text))) }

func (c *client) receive() object {
	kind, data, err := c.ReadMessage()
	must(err)
	expect(kind, websocket.TextMessage)
	message := object{}
	must(json.Unmarshal(data, &message))
	return message
}

func (c *client) receiveOp(op string) object {
	for {
		if message := c.receive(); message["op"] == op {
			return message
		}
	}
}

func (c *client) subscribe(filters ...string) {
	c.command(object{"op": "subscribe", "id": "s", "filters": filters})
	expect(c.receiveOp("subscribed")["id"], "s")
}

// closeCode answers what the broker closes with; data before it is skipped.
func (c *client) closeCode() int {
	for {
		_, _, err := c.ReadMessage()
		if closed, is := err.(*websocket.CloseError); is {
			return closed.Code
		}
		must(err)
	}
}

func publishOf(size int) string {
	head := `{"op":"publish","topic":"large","text":"`
	return head + strings.Repeat("x", size-len(head)-2) + `"}`
}

func (c *client) messageBytesMax() int { return int(c.welcome["max_message_bytes"].(float64)) }

func welcome() {
	c := open(websocket.Dialer{})
	expect(c.Subprotocol(), "fanfare.v1")
	expect(c.messageBytesMax(), 65536)
	c.Close()
}

func overlapOnce() {
	c := open(websocket.Dialer{})
	defer c.Close()
	c.subscribe("overlap/#", "overlap/+/temp", "overlap/a/temp")
	c.command(object{"op": "publish", "topic": "overlap/a/temp", "data": 1})
	c.command(object{"op": "publish", "topic": "overlap/a/temp", "data": 2})
	expect(c.receiveOp("message")["data"], 1.0)
	expect(c.receiveOp("message")["data"], 2.0)
}

func payloads() {
	topic := "payloads/ünï/🎺"
	sent := []object{
		{"data": map[string]interface{}{"b": []interface{}{1.0, 2.5, nil, true}, "é": "日本語 🎺"}},
		{"text": "Grüße, мир, 日本語, 🎺, \x00 \"quoted\" \\ \n\t \u2028"},
		{"base64": "AAH+/w=="}, {"text": ""}, {"data": nil},
	}
	c := open(websocket.Dialer{})
	defer c.Close()
	c.subscribe(topic)
	for _, payload := range sent {
		command := object{"op": "publish", "topic": topic}
		for kind, value := range payload {
			command[kind] = value
		}
		c.command(command)
	}
	for _, payload := range sent {
		payload["op"], payload["topic"] = "message", topic
		expect(c.receiveOp("message"), payload)
	}
}

func pingCommand() {
	c := open(websocket.Dialer{})
	defer c.Close()
	c.command(object{"op": "ping", "id": 7})
	expect(c.receiveOp("pong"), object{"op": "pong", "id": 7.0})
}

func pingFrame() {
	c := open(websocket.Dialer{})
	defer c.Close()
	answer := ""
	c.SetPongHandler(func(payload string) error { answer = payload; return nil })
	must(c.WriteControl(websocket.PingMessage, []byte("are you there?"), time.Now().Add(timeout)))
	// The library reads control frames only while it reads messages.
	c.command(object{"op": "ping", "id": 1})
	c.receiveOp("pong")
	expect(answer, "are you there?")
}

func errorReply() {
	c := open(websocket.Dialer{})
	defer c.Close()
	c.command(object{"op": "dance", "id": "x"})
	answer := c.receive()
	expect([]interface{}{answer["op"], answer["id"], answer["code"]},
		[]interface{}{"error", "x", "unknown_op"})
	c.send("{not json")
	expect(c.receive()["code"], "invalid_json")
	c.command(object{"op": "ping"})
	expect(c.receive(), object{"op": "pong"})
}

// A small write buffer makes the library cut a message into fragments, also inside of characters.
func fragmented() {
	c := open(websocket.Dialer{WriteBufferSize: 31})
	defer c.Close()
	text := strings.Repeat("🎺", 500)
	c.subscribe("fragments")
	writer, err := c.NextWriter(websocket.TextMessage)
	must(err)
	for _, piece := range []string{`{"op":"publish","topic":"fragments","text":"`, text, `"}`} {
		_, err = writer.Write([]byte(piece))
		must(err)
	}
	must(writer.Close())
	expect(c.receiveOp("message")["text"], text)
}

func largestMessage() {
	c := open(websocket.Dialer{})
	defer c.Close()
	c.subscribe("large")
	c.send(publishOf(c.messageBytesMax()))
	command := object{}
	must(json.Unmarshal([]byte(publishOf(c.messageBytesMax())), &command))
	expect(c.receiveOp("message")["text"], command["text"])
}

func tooLarge() {
	c := open(websocket.Dialer{})
	defer c.Close()
	c.send(publishOf(c.messageBytesMax() + 1))
	expect(c.closeCode(), 1009)
}

func binaryFrame() {
	c := open(websocket.Dialer{})
	defer c.Close()
	must(c.WriteMessage(websocket.BinaryMessage, []byte{0, 1}))
	expect(c.closeCode(), 1003)
}

func closeByClient() {
	for _, code := range []int{1000, 3001} {
		c := open(websocket.Dialer{})
		farewell := websocket.FormatCloseMessage(code, "bye 🎺")
		must(c.WriteControl(websocket.CloseMessage, farewell, time.Now().Add(timeout)))
		expect(c.closeCode(), code)
		c.Close()
	}
}

func survivesSilence() {
	c := open(websocket.Dialer{})
	defer c.Close()
	pings := 0
	answer := c.PingHandler()
	c.SetPingHandler(func(payload string) error { pings++; return answer(payload) })
	time.AfterFunc(1500*time.Millisecond, func() { c.command(object{"op": "ping", "id": 1}) })
	c.receiveOp("pong")
	if pings == 0 {
		panic("no ping arrived")
	}
}

func unknownSubprotocol() {
	dialer := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	_, response, err := dialer.Dial(url, nil)
	expect(err, websocket.ErrBadHandshake)
	expect(response.StatusCode, 400)
}

func goodbye() {
	c := open(websocket.Dialer{})
	defer c.Close()
	fmt.Println("waiting for goodbye")
	message := c.receiveOp("goodbye")
	expect(message["code"], "draining")
	if message["retry_ms"].(float64) <= 0 {
		panic("no retry_ms")
	}
	expect(c.closeCode(), 1001)
}

func run(name string, check func()) {
	defer func() {
		if problem := recover(); problem != nil {
			fmt.Printf("failed %s: %v\n", name, problem)
		} else {
			fmt.Println("ok", name)
		}
	}()
	check()
}

func main() {
	run("welcome", welcome)
	run("overlap_once", overlapOnce)
	run("payloads", payloads)
	run("ping_command", pingCommand)
	run("ping_frame", pingFrame)
	run("error_reply", errorReply)
	run("fragmented", fragmented)
	run("largest_message", largestMessage)
	run("too_large", tooLarge)
	run("binary_frame", binaryFrame)
	run("close_by_client", closeByClient)
	run("survives_silence", survivesSilence)
	run("unknown_subprotocol", unknownSubprotocol)
	run("goodbye", goodbye)
}
