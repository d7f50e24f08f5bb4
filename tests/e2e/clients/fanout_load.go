// The load of test_fanout.py: fanout_load URL SUBSCRIBERS PUBLISHERS MESSAGES
//
// Every publisher has one message in flight at any time: it waits for `published` before it sends its
// next. All publish to one topic. A third of the subscribers take the topic, a third a wildcard, a
// third both. Each keeps the count and a running hash of the exact frames that it received; the first
// keeps the frames themselves. So it is enough to look at those of the first, and to compare the
// counts and hashes of the others: the same frames, in the same order, byte for byte.
//
// Prints one line of JSON at the end. What is wrong goes to the standard error, with exit code 1.
package main

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	topic       = "scores/live"
	timeout     = 80 * time.Second
	dialsAtOnce = 64
	// After its last message a subscriber listens a little longer: for one that comes twice.
	listenLonger = time.Second
)

var (
	seed     = maphash.MakeSeed()
	url      = os.Args[1]
	deadline = time.Now().Add(timeout)
	received int64
)

func fail(format string, arguments ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(1)
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	must(err, text)
	return value
}

// payload is what message `count` of a publisher carries; all of them have other bytes and lengths.
func payload(publisher, count int) string {
	filler := strings.Repeat("🎺é", (publisher*7+count*13)%24)
	return fmt.Sprintf(`{"publisher":%d,"count":%d,"filler":"%s"}`, publisher, count, filler)
}

type subscriber struct {
	connection *websocket.Conn
	count      int
	hash       maphash.Hash
	keeps      bool
	frames     []string
}

func dial() *websocket.Conn {
	dialer := websocket.Dialer{ReadBufferSize: 4096, WriteBufferSize: 512}
	connection, _, err := dialer.Dial(url, nil)
	must(err, "dial")
	must(connection.SetReadDeadline(deadline), "deadline")
	_, welcome, err := connection.ReadMessage()
	must(err, "welcome")
	if !strings.HasPrefix(string(welcome), `{"op":"welcome"`) {
		fail("no welcome but %s", welcome)
	}
	return connection
}

func subscribe(index int) *subscriber {
	filters := []string{`"scores/live"`, `"scores/+"`, `"scores/live","scores/#","+/live"`}[index%3]
	s := &subscriber{connection: dial(), keeps: index == 0}
	s.hash.SetSeed(seed)
	command := `{"op":"subscribe","id":1,"filters":[` + filters + `]}`
	must(s.connection.WriteMessage(websocket.TextMessage, []byte(command)), "subscribe")
	_, answer, err := s.connection.ReadMessage()
	must(err, "subscribed")
	if !strings.HasPrefix(string(answer), `{"op":"subscribed","id":1`) {
		fail("not subscribed but %s", answer)
	}
	return s
}

// listen reads until all messages have come, and then until the line has been quiet for a while.
func (s *subscriber) listen(messages int) {
	buffer := make([]byte, 2048)
	for {
		_, reader, err := s.connection.NextReader()
		if err != nil {
			timedOut, is := err.(interface{ Timeout() bool })
			if s.count == messages && is && timedOut.Timeout() {
				return
			}
			fail("a subscriber ended after %d messages: %v", s.count, err)
		}
		size := 0
		for size < len(buffer) {
			read, err := reader.Read(buffer[size:])
			size += read
			if err != nil {
				break
			}
		}
		if size == len(buffer) {
			fail("a frame is longer than any that was published: %s", buffer)
		}
		s.hash.Write(buffer[:size])
		s.hash.WriteByte('\n')
		s.count++
		atomic.AddInt64(&received, 1)
		if s.keeps {
			s.frames = append(s.frames, string(buffer[:size]))
		}
		if s.count >= messages {
			s.connection.SetReadDeadline(time.Now().Add(listenLonger))
		}
	}
}

func publish(connection *websocket.Conn, publisher, messages int) {
	for count := 0; count < messages; count++ {
		command := fmt.Sprintf(`{"op":"publish","id":%d,"topic":"%s","data":%s}`, count, topic,
			payload(publisher, count))
		must(connection.WriteMessage(websocket.TextMessage, []byte(command)), "publish")
		_, answer, err := connection.ReadMessage()
		must(err, "published")
		if !strings.HasPrefix(string(answer), fmt.Sprintf(`{"op":"published","id":%d`, count)) {
			fail("not published but %s", answer)
		}
	}
}

// inParallel calls work(0) to work(count-1), at most `atOnce` at a time.
func inParallel(count, atOnce int, work func(int)) {
	var group sync.WaitGroup
	places := make(chan bool, atOnce)
	for index := 0; index < count; index++ {
		group.Add(1)
		places <- true
		go func(index int) {
			work(index)
			<-places
			group.Done()
		}(index)
	}
	group.Wait()
}

type message struct {
	Op    string
	Topic string
	Data  json.RawMessage
}

// checkFirst looks at every frame of the first subscriber: each message once, each publisher's in its
// order, each payload as it was published.
func checkFirst(frames []string, publishers int) {
	next := make([]int, publishers)
	for _, frame := range frames {
		var m message
		must(json.Unmarshal([]byte(frame), &m), frame)
		var named struct{ Publisher, Count int }
		must(json.Unmarshal(m.Data, &named), frame)
		if m.Op != "message" || m.Topic != topic || named.Count != next[named.Publisher] {
			fail("expected message %d of the publisher: %s", next[named.Publisher], frame)
		}
		if string(m.Data) != payload(named.Publisher, named.Count) {
			fail("not as published: %s", frame)
		}
		next[named.Publisher]++
	}
}

func main() {
	subscribersCount, publishersCount := number(os.Args[2]), number(os.Args[3])
	each := number(os.Args[4]) / publishersCount
	messages := each * publishersCount

	begin := time.Now()
	subscribers := make([]*subscriber, subscribersCount)
	inParallel(subscribersCount, dialsAtOnce, func(index int) { subscribers[index] = subscribe(index) })
	publishers := make([]*websocket.Conn, publishersCount)
	inParallel(publishersCount, dialsAtOnce, func(index int) { publishers[index] = dial() })
	connected := time.Since(begin)

	begin = time.Now()
	var group sync.WaitGroup
	for _, s := range subscribers {
		group.Add(1)
		go func(s *subscriber) {
			s.listen(messages)
			group.Done()
		}(s)
	}
	inParallel(publishersCount, publishersCount, func(index int) {
		publish(publishers[index], index, each)
	})
	published := time.Since(begin)
	group.Wait()
	delivered := time.Since(begin) - listenLonger

	first := subscribers[0]
	checkFirst(first.frames, publishersCount)
	for index, s := range subscribers {
		if s.count != messages || s.hash.Sum64() != first.hash.Sum64() {
			fail("subscriber %d received %d messages, or others, or in another order", index, s.count)
		}
	}
	for _, s := range subscribers {
		s.connection.Close()
	}
	fmt.Printf(`{"deliveries":%d,"connect_s":%.2f,"publish_s":%.2f,"deliver_s":%.2f}`+"\n",
		atomic.LoadInt64(&received), connected.Seconds(), published.Seconds(), delivered.Seconds())
}
