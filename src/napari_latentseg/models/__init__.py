"""Trained models on disk: a folder with a card, weights, and the record of the training.

`card` is the model card and `card_text` the card in plain words; neither needs torch. `layout` names the
files of a model folder and checks their hashes, `split` says which images a model was trained on, `folder`
loads and saves a model. `store` finds models and codecs by name, `install` and `archive` bring a model in or
out, `versions` keeps the fine-tuned versions of a model, `update_card` writes new figures into a card. `hub`
downloads codecs from the Hugging Face hub; `gms_checkpoint` reads the weights that the authors of GMS
published. `embedded/` holds the models and the codec that come with the package.
"""
