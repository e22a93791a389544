"""The kinds of document that a file may hold, and the types of their fields: Model, ModelGateway and Tenant.

Each field is declared once, with its bounds, its default and the sentence that documents it. These modules do not know
how a file is read, which schemas are generated from them, or whether a document makes sense on some hardware.
"""
