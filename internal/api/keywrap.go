package api

import "encoding/json"

// Where an administrator has a broker wrap and unwrap the keys of layers.
const (
	KeyWrapPath   = KBSPrefix + "/holdfast/keywrap"   // POST a KeyWrap
	KeyUnwrapPath = KBSPrefix + "/holdfast/keyunwrap" // POST a KeyWrap
)

// A KeyWrap is a layer's private options, in the open or wrapped by a resource of
// 32 bytes. A request has one of both, and the answer the other.
type KeyWrap struct {
	Resource string          `json:"resource,omitempty"` // REPOSITORY/TYPE/TAG, to wrap with
	Options  []byte          `json:"options,omitempty"`
	Packet   json.RawMessage `json:"packet,omitempty"` // as package enc has it
}
