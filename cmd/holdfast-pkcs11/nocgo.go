//go:build !cgo

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, `holdfast-pkcs11: built without a C compiler, so it can load no library: "make pkcs11" builds the real one`)
	os.Exit(1)
}
