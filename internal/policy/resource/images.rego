# What each kind of evidence shows of the image that runs.
package policy

import rego.v1

shown_image(e) := e.tpm.pcr11

shown_image(e) := e.snp.measurement

shown_image(e) := e.tdx.quote.body.rtmr_2

shown_image(e) := e["az-snp-vtpm"].tpm.pcr11

shown_image(e) := e["az-tdx-vtpm"].tpm.pcr11

running contains name if {
	some name, submod in input.submods
	shown := shown_image(submod[evidence])
	data.images[shown].status == "trusted"
	rebuilt(shown)
}

shown_images contains shown_image(submod[evidence]) if some submod in input.submods
