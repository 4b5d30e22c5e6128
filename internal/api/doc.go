// Package api holds the documents that parts of Holdfast exchange: the KBS
// protocol, the init-data document, the guest configuration inside it, the
// control channel and the reference values.
//
// They are wire formats. A field's name is final; docs/formats describes each.
package api
