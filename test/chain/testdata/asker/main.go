// Command asker is a workload as one is written for Confidential Containers: it
// prints a variable that it was given, and what each path of the API answers.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	fmt.Println("PASSWORD", os.Getenv("PASSWORD"))
	for _, path := range os.Args[1:] {
		answer, err := http.Get("http://127.0.0.1:8006" + path)
		if err != nil {
			fmt.Println(path, err)
			continue
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		fmt.Println(path, answer.StatusCode, string(body), err)
	}
}
