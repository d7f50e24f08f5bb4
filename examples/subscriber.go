// A few lines of Go with github.com/gorilla/websocket: go run subscriber.go ws://localhost:7788/ws 'news/#'
package main

import (
	"fmt"
	"log"
	"os"

	"github.com/gorilla/websocket"
)

func main() {
	socket, _, err := websocket.DefaultDialer.Dial(os.Args[1], nil)
	if err != nil {
		log.Fatal(err)
	}
	socket.WriteJSON(map[string]any{"op": "subscribe", "id": 1, "filter": os.Args[2]})
	for {
		_, text, err := socket.ReadMessage()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(text))
	}
}
